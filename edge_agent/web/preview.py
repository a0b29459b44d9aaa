"""``/api/v1/preview.jpg``: the camera's latest picture for those who know the token, where the config allows it."""

from __future__ import annotations

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from edge_agent.live import Live
from edge_agent.plugin.imaging import jpeg
from edge_agent.web.problems import ProblemError

LONGEST = 640
"""Pixels."""

_OWN = {"cross-origin-resource-policy": "same-origin"}


def routes(agent: Live) -> list[BaseRoute]:
    """The endpoint."""

    async def picture(_request: Request) -> Response:
        if not agent.settings.web.preview:
            raise ProblemError(404, "there is no preview: web.preview is off in this device's config")
        if agent.preview is None:
            raise ProblemError(409, "there is no picture: the camera is not used by this device's config")
        frame = agent.preview.latest()
        if frame is None:
            raise ProblemError(409, "there is no picture now: the camera is not watching")
        return Response(await anyio.to_thread.run_sync(jpeg, frame, LONGEST), media_type="image/jpeg", headers=_OWN)

    return [Route("/api/v1/preview.jpg", picture)]
