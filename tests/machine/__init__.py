"""Test the installed package on a whole machine: QEMU with systemd, V4L2, ALSA, a network cable and a power cord.

``scripts/machine`` is the command. :mod:`emulator` starts and cuts a virtual machine, :mod:`image` makes its disks,
:mod:`guest` speaks to the system inside, :mod:`checks` and :mod:`power` declare what a release must show, and
:mod:`report` turns the results into JUnit XML and the tables of docs/machine.md.
"""
