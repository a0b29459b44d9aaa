"""Sink that posts every summary and event to a web address, in order, and again until it was taken.

It shows a sink over the network: what is not answered with 2xx raises, and the agent offers the same batch again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from pydantic import Field, field_validator

from edge_agent.domain.event import Message
from edge_agent.plugin import Sink, SinkSettings, SinkSpec, hookimpl


class WebhookSettings(SinkSettings):
    """The table ``[sinks.webhook]``."""

    url: str = Field(default="http://127.0.0.1:8000/", description="Where to post: http or https.")
    timeout_s: float = Field(default=10.0, gt=0.0, le=120.0, description="Seconds to wait for the answer.")

    @field_validator("url")
    @classmethod
    def _is_web_address(cls, url: str) -> str:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise ValueError("must be a web address such as https://example.org/hook")
        return url


class Webhook:
    """Posts a batch as one JSON array. The receiver tells repeated messages apart by ``boot_id`` and ``seq``."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings

    def write(self, messages: Sequence[Message]) -> None:
        """Post ``messages``; raises OSError unless the answer is 2xx. An empty batch posts nothing."""
        if not messages:
            return
        body = json.dumps([_entry(message) for message in messages]).encode()
        request = Request(self._settings.url, body, {"Content-Type": "application/json"}, method="POST")
        try:
            with urlopen(request, timeout=self._settings.timeout_s):
                return
        except HTTPError as error:
            raise OSError(f"the webhook answered {error.code}") from None
        except URLError as error:
            # Without the address, which may hold a token.
            raise OSError(f"the webhook cannot be reached: {error.reason}") from None

    def close(self) -> None:
        """Nothing is held between two batches."""


def _entry(message: Message) -> dict[str, Any]:
    return {"topic": message.topic, "replayed": message.replayed, "payload": json.loads(message.payload)}


def _make(settings: WebhookSettings) -> Sink:
    return Webhook(settings)


@hookimpl
def edge_agent_register_sinks() -> Sequence[SinkSpec]:
    """Register the sink ``webhook``."""
    return [SinkSpec(name="webhook", summary="HTTP posts of messages", factory=_make, settings=WebhookSettings)]
