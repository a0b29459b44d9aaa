"""Runtime of the process: supervised threads, mailboxes, stop signals, logs, systemd, readings of the machine."""
