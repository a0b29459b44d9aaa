"""Stopping and reloading by real signals, in a process of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edge_agent.runtime.lifecycle import Stop, stop_on_signals

CHILD = """
import sys, threading, time
from edge_agent.runtime.lifecycle import Stop, stop_on_signals

stop, hangup = Stop(), threading.Event()
with stop_on_signals(stop, hangup):
    print("ready", flush=True)
    {body}
print("bye", stop.reason, flush=True)
"""
GRACEFUL = "stop.wait(60)"
STUBBORN = "stop.wait(60); print('stopping', flush=True); time.sleep(60)"
RELOADING = "hangup.wait(60); print('reload', stop.requested, flush=True); stop.wait(60)"
# A native lock taken twice: no signal ends the call, and the interpreter runs no handler meanwhile.
HUNG = """
    import ctypes
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)
"""


@contextmanager
def child(body: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", CHILD.format(body=body)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_requests_an_orderly_stop(number: signal.Signals) -> None:
    with child(GRACEFUL) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, f"bye {number.name}\n", "")


def test_the_second_signal_forces() -> None:
    with child(STUBBORN) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 128 + signal.SIGINT


def test_signals_force_while_native_code_hangs() -> None:
    with child(HUNG) as process:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM


def test_a_hangup_reloads_and_does_not_stop() -> None:
    with child(RELOADING) as process:
        process.send_signal(signal.SIGHUP)
        assert process.stdout is not None
        assert process.stdout.readline() == "reload False\n"
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "bye SIGTERM\n")


def test_sigusr1_shows_where_every_thread_is() -> None:
    with child(GRACEFUL) as process:
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out == "bye SIGTERM\n"
    assert err.count("most recent call first") >= 2


def test_a_stop_for_another_reason_leaves_the_first_signal_graceful() -> None:
    body = "stop.request('end of the recording'); print('flushing', flush=True); time.sleep(1)"
    with child(body) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "flushing\n"
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "bye end of the recording\n")


def test_a_signal_may_come_while_the_main_thread_holds_the_events_own_lock() -> None:
    """As it does for a moment in every wait. A handler that sets the event would wait for its own thread."""
    body = """
    import os, signal
    with hangup._cond:
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.1)
    print(hangup.wait(30))
    with stop._event._cond:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
    stop.wait(30)
    """
    with child(body) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "True\nbye SIGTERM\n", "")


def test_everything_is_put_back_afterwards() -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(n) for n in numbers]
    threads = threading.active_count()
    descriptors = len(os.listdir("/proc/self/fd"))
    with stop_on_signals(Stop(), threading.Event()):
        assert [signal.getsignal(n) for n in numbers] != before
    assert [signal.getsignal(n) for n in numbers] == before
    assert signal.set_wakeup_fd(-1) == -1
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_without_a_hangup_flag_sighup_is_left_alone() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with stop_on_signals(Stop()):
        assert signal.getsignal(signal.SIGHUP) is before


def test_the_first_reason_is_kept() -> None:
    stop = Stop()
    assert not stop.wait(0)
    threads = [threading.Thread(target=stop.request, args=(f"reason {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = stop.reason
    stop.request("late")
    assert first.startswith("reason ")
    assert (stop.reason, stop.requested, stop.wait(60)) == (first, True, True)
