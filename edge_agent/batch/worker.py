"""Work on a queue: the loop of the worker, and the process of its own in which it runs beside a live agent.

The process is started when there is work and ends when there is none, so an idle queue costs no memory. It runs at idle
priority, is the first to go when memory is short, ends with its parent, and is ended by the kernel when one recording
takes too long even inside native code. A recording at which it dies too often has failed; it goes on with the next one.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import logging
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from edge_agent.api import CustomModels, EdgeAgentError, Session
from edge_agent.batch.analysis import Analyser
from edge_agent.batch.fetching import Fetcher
from edge_agent.batch.jobs import BatchError, Findings, Job, JobQuery, JobQueue, JobStatus, Task, predictions_of
from edge_agent.batch.queue import LocalQueue, folder_of
from edge_agent.domain.errors import AlreadyRunningError
from edge_agent.domain.retry import BackOff
from edge_agent.runtime.lifecycle import Stop
from edge_agent.runtime.machine import hottest
from edge_agent.runtime.supervisor import Beat, Component
from edge_agent.settings import Settings
from edge_agent.settings.batch import BatchSettings

log = logging.getLogger(__name__)

PROGRESS_S = 2.0
"""Seconds between two notes of progress: each is synced to the disk."""
SWEEP_S = 60.0
RETRY_S = 10.0
POLL_S = 0.5
_GRACE_S = 30.0
"""Seconds after the time limit until the kernel ends a worker that does not notice it."""
_STOP_S = 2.0
_CALLS = 3
_OOM_SCORE = 800
_PR_SET_PDEATHSIG = 1


class StoppedError(EdgeAgentError):
    """The worker is to stop; the recording in hand goes back to the queue."""


class TimeLimitError(EdgeAgentError):
    """The analysis of a recording took too long."""


class DeletedError(EdgeAgentError):
    """The job in hand was deleted."""


def analyser_of(settings: Settings, config: Path | None) -> Analyser:
    """An analyser with the models of this device. An analyzer that the config switches off stays off."""
    withheld = frozenset(name for name, table in settings.analyzers.items() if table.get("enabled") is False)
    open_custom = partial(CustomModels, config, pull=False)
    return Analyser(settings.batch, partial(Session, config=config, pull=False), withheld, open_custom)


class Worker:
    """Takes recordings from a queue, one at a time, and writes what is found in them.

    ``stopped`` is asked with every picture and block of sound. ``celsius``: above this temperature the work pauses.
    """

    def __init__(
        self,
        queue: JobQueue,
        analyser: Analyser,
        limits: BatchSettings,
        stopped: Callable[[], bool] = lambda: False,
        celsius: float = 200.0,
    ) -> None:
        self._queue = queue
        self._analyser = analyser
        self._limits = limits
        self._stopped = stopped
        self._celsius = celsius
        self._fetcher = Fetcher(limits)

    def drain(self, claim: Callable[[], Task | None]) -> int:
        """Work on what ``claim`` gives until that is None or a stop is asked for; the number of recordings done."""
        done = 0
        while not self._stopped() and (task := claim()) is not None:
            done += self.work(task)
        if not self._stopped():
            self.call_back()
        return done

    def work(self, task: Task) -> bool:
        """Analyse one recording; False when it was given up because of a stop or a deletion."""
        signal.setitimer(signal.ITIMER_REAL, self._limits.time_limit_s + _GRACE_S)
        try:
            outcome = self._analyse(task)
        except StoppedError:
            self._queue.release(task)
            return False
        except DeletedError:
            self._queue.fail(task, "deleted")
            return False
        except EdgeAgentError as error:
            log.info("batch: job %s, recording %d: %s", task.job, task.index, error)
            self._queue.fail(task, str(error))
        except Exception:  # one recording never ends the worker
            log.exception("batch: job %s, recording %d: failed", task.job, task.index)
            self._queue.fail(task, "the analysis of this recording has failed; the device's log says why")
        else:
            self._queue.complete(task, outcome)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        return True

    def _analyse(self, task: Task) -> Findings:
        watch = _Watch(self._queue, task, self._limits, self._stopped, self._celsius)
        if task.source.kind != "url":
            with self._queue.content(task) as path:
                return self._analyser.analyse(path, task, watch)
        if not self._limits.allow_urls:
            raise BatchError("this device fetches no addresses (batch.allow_urls)")
        with tempfile.NamedTemporaryFile(prefix="upload-", dir=_spool(self._queue)) as file:
            self._fetcher.fetch(task.source.name, cast("BinaryIO", file), lambda: watch(0.0))
            file.flush()
            return self._analyser.analyse(Path(file.name), task, watch)

    def call_back(self) -> None:
        """Send the results of ended jobs to their callback addresses. One that cannot be reached is given up."""
        for job in self._queue.callbacks():
            if not self._limits.allow_callbacks or job.request.callback_url is None:
                continue
            for attempt in range(1, _CALLS + 1):
                try:
                    self._fetcher.send(job.request.callback_url, callback_document(self._queue, job))
                    break
                except EdgeAgentError as error:
                    log.warning("batch: job %s: callback %d of %d: %s", job.id, attempt, _CALLS, error)
                    if attempt < _CALLS and not self._stopped():
                        time.sleep(BackOff(0.5, 5.0).delay(attempt))


class _Watch:
    """Called with the progress of one recording: notes it, and ends the work when it has to end."""

    def __init__(
        self, queue: JobQueue, task: Task, limits: BatchSettings, stopped: Callable[[], bool], celsius: float
    ) -> None:
        self._queue, self._task, self._limits = queue, task, limits
        self._stopped, self._celsius = stopped, celsius
        self._ends = time.monotonic() + limits.time_limit_s
        self._next = time.monotonic() + PROGRESS_S

    def __call__(self, share: float) -> None:
        if self._stopped():
            raise StoppedError("the worker stops")
        now = time.monotonic()
        if now >= self._ends:
            raise TimeLimitError(f"the analysis took longer than {self._limits.time_limit_s:g} s (batch.time_limit_s)")
        if now < self._next:
            return
        if not self._queue.progress(self._task, share):
            raise DeletedError("this job was deleted")
        while (hottest() or 0.0) > self._celsius and not self._stopped() and time.monotonic() < self._ends:
            time.sleep(1.0)
        self._next = time.monotonic() + PROGRESS_S


def callback_document(queue: JobQueue, job: Job) -> dict[str, object]:
    """What a callback is sent."""
    return {"job_id": job.id, "status": str(job.status), "predictions": predictions_of(queue, job.id)}


def _spool(queue: JobQueue) -> Path | None:
    return queue.folder if isinstance(queue, LocalQueue) else None


# ---------------------------------------------------------------------- the process


def behave(priority: str, lifeline: int | None = None) -> None:
    """Set this process up as a worker: idle priority, no core dump, end with the process ``lifeline``."""
    if priority == "idle":
        try:
            os.setpriority(os.PRIO_PROCESS, 0, 19)
            # Its disk accesses are idle, too: the kernel derives their class from this one.
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        except OSError as error:
            log.warning("batch: the worker's priority cannot be lowered: %s", error.strerror)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    if lifeline is not None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != lifeline:  # it died before that
            sys.exit(1)


class WorkerProcess:
    """Keeps a worker in a child process for as long as there is work in the queue of this machine.

    ``command`` starts the worker; it ends by itself when nothing is left to do.

    Raises:
        AlreadyRunningError: another one works on this queue.
    """

    def __init__(self, queue: LocalQueue, command: Sequence[str]) -> None:
        self._queue = queue
        self._command = [*command]
        self._lock = os.open(queue.folder / "worker.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise AlreadyRunningError(f"{queue.folder}: another worker is at work on this queue") from None
        self._child: subprocess.Popen[bytes] | None = None
        self._deaths = 0
        self._due = self._sweep_due = 0.0
        queue.recover()

    @property
    def busy(self) -> bool:
        """Whether a worker is at work."""
        return self._child is not None

    def tick(self, now: float) -> None:
        """Start a worker if there is work, and see whether it has ended; ``now``: monotonic seconds."""
        if self._child is not None and (code := self._child.poll()) is not None:
            self._child = None
            self._queue.recover()
            self._deaths = self._deaths + 1 if code else 0
            if code:
                pause = BackOff(0.5, 60.0).delay(self._deaths)
                log.warning("batch: the worker ended with %d; again in %.1f s", code, pause)
                self._due = now + pause
        if self._child is None and now >= self._due and self._queue.waiting():
            # The child keeps the lock as long as it lives, even if this process is killed.
            self._child = subprocess.Popen(
                [*self._command, "--child", str(os.getpid())], stdin=subprocess.DEVNULL, pass_fds=(self._lock,)
            )
        if now >= self._sweep_due:
            self._sweep_due = now + SWEEP_S
            self._queue.sweep()

    def close(self) -> None:
        """Stop the worker; what it had in hand goes back to the queue."""
        if self._child is not None:
            self._child.terminate()
            try:
                self._child.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
            self._child = None
            self._queue.recover(counted=False)
        os.close(self._lock)


def share(queue: JobQueue, worker: Worker, stop: threading.Event, *, until_done: bool = False) -> None:
    """Work on a queue of several machines until ``stop`` is set; with ``until_done`` until all its jobs have ended."""
    from edge_agent.batch.engine import RedisQueue

    assert isinstance(queue, RedisQueue)
    due = 0.0

    def idle() -> None:
        nonlocal due
        worker.call_back()
        if time.monotonic() >= due:
            due = time.monotonic() + SWEEP_S
            queue.sweep()
        if until_done and not queue.jobs(JobQuery(limit=1, status=(JobStatus.QUEUED, JobStatus.IN_PROGRESS))):
            stop.set()

    queue.serve(worker.work, stop, idle)


def component(settings: Settings, config: Path | None) -> Component:
    """The worker of a live agent with these settings, from the file ``config``; its failures never cost the agent."""
    return Component("batch", partial(_attend, settings, config), stale_after=30.0, stop_within=_STOP_S + 1.0, phase=2)


def _attend(settings: Settings, config: Path | None, beat: Beat, stop: Stop) -> None:
    due = 0.0
    while not stop.requested:
        beat()
        if time.monotonic() >= due:
            try:
                _keep_working(settings, config, beat, stop)
            except (EdgeAgentError, OSError) as error:
                log.error("batch: %s; trying again in %.0f s", error, RETRY_S)
                due = time.monotonic() + RETRY_S
        stop.wait(POLL_S)


def _keep_working(settings: Settings, config: Path | None, beat: Beat, stop: Stop) -> None:
    queue = LocalQueue(folder_of(settings), settings.batch)
    with contextlib.closing(queue), contextlib.closing(WorkerProcess(queue, command_of(config))) as process:
        while not stop.requested:
            beat()
            process.tick(time.monotonic())
            stop.wait(POLL_S)


def command_of(config: Path | None) -> list[str]:
    """Command line that starts a worker for the config file ``config``."""
    chosen = [] if config is None else ["--config", str(config)]
    return [sys.executable, "-P", "-m", "edge_agent", "batch", "work", *chosen]
