"""The body of a request on its way to the application: bounded in size and in time, whatever its header says.

A client that is answered before all of its body was read would lose the answer when the connection is closed on it, so
a bit of what still comes is read and forgotten first.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import Message, Receive, Send

from edge_agent.web.problems import ProblemError

BODY = 64 * 1024
"""Bytes of a body, where no route has a limit of its own."""
BODY_S = 10.0
"""Seconds in which it must be here."""
TOO_LARGE = f"a body may have {BODY} bytes"
CLOSE = {"connection": "close"}

REST = 8 * 1024 * 1024
"""Bytes read and forgotten, at most, of a body that nobody wants."""
REST_S = 2.0


class Body:
    """``receive`` of one request; without ``bounded`` its route sees to the limits."""

    def __init__(self, receive: Receive, *, bounded: bool) -> None:
        self._receive = receive
        self._bounded = bounded
        self._got = 0
        self._whole = False
        self._until = asyncio.get_running_loop().time() + BODY_S

    async def receive(self) -> Message:
        """The next message. Raises ProblemError when the body is too large or too slow."""
        if self._whole or not self._bounded:
            return await self._next()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._next()
        except TimeoutError:
            raise ProblemError(408, f"the body was not here within {BODY_S:.0f} s", CLOSE) from None
        if self._got > BODY:
            raise ProblemError(413, TOO_LARGE, CLOSE)
        return message

    async def answer(self, message: Message, send: Send) -> None:
        """``send`` what the application sends; the end of it only when the rest of the body has come."""
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if last and not self._whole:
            await send({**message, "more_body": True})
            await self._forget()
            message = {"type": "http.response.body", "body": b""}
        await send(message)

    async def _next(self) -> Message:
        message = await self._receive()
        self._got += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        return message

    async def _forget(self) -> None:
        most = self._got + REST
        with suppress(TimeoutError):
            async with asyncio.timeout(REST_S):
                while not self._whole and self._got < most:
                    await self._next()
