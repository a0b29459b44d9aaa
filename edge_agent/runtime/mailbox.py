"""Bounded mailboxes between threads that drop and count the oldest items: the newest frame, or the newest N reports."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):  # noqa: N818 - it ends a loop, it is not an error
    """The mailbox was closed and is empty."""


class Mailbox(Generic[T]):
    """Hold at most ``capacity`` items; a full mailbox drops its oldest item and counts it.

    ``capacity=1`` is the latest-only mailbox for frames. ``put`` never blocks.
    """

    def __init__(self, capacity: int = 1) -> None:
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._ready = threading.Condition()
        self._closed = False
        self._lost = self._told = 0

    def put(self, item: T) -> None:
        """Add ``item``; after :meth:`close` it is dropped."""
        with self._ready:
            if self._closed:
                return
            if len(self._items) >= self._capacity:
                self._items.popleft()
                self._lost += 1
            self._items.append(item)
            self._ready.notify()

    def get(self, timeout: float | None) -> T | None:
        """The oldest item, waiting at most ``timeout`` seconds (None: for ever); None when there is none.

        Raises:
            Closed: when closed and empty.
        """
        with self._ready:
            self._ready.wait_for(lambda: self._items or self._closed, timeout)
            if self._items:
                return self._items.popleft()
            if self._closed:
                raise Closed
            return None

    def close(self) -> None:
        """Accept no more items; the remaining ones can still be taken."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    def take_lost(self) -> int:
        """Items dropped since the last call: each counts once, also when the calling component is restarted."""
        with self._ready:
            fresh, self._told = self._lost - self._told, self._lost
            return fresh

    @property
    def lost(self) -> int:
        """Items dropped since the start."""
        with self._ready:
            return self._lost
