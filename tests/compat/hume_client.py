"""What the tests of Hume's stream run with each version of its SDK, in a process of its own; prints JSON.

python hume_client.py URL TOKEN FILE
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from hume import AsyncHumeClient
from hume.expression_measurement.stream import Config, StreamFace, StreamLanguage

try:  # up to 0.12.1, as its documentation imports it
    from hume.expression_measurement.stream.socket_client import StreamConnectOptions  # type: ignore[import-not-found]
except ImportError:
    StreamConnectOptions = None


def client_of(url: str, key: str) -> AsyncHumeClient:
    """A client of the device at ``url``; how it is told that differs from version to version."""
    if StreamConnectOptions is not None:
        return AsyncHumeClient(api_key=key, base_url=f"http://{url}")
    from hume.environment import HumeClientEnvironment

    here = HumeClientEnvironment(base="", evi="", tts="", stream=f"ws://{url}/v0/stream")
    return AsyncHumeClient(api_key=key, environment=here)


async def example(url: str, key: str, file: str, config: Config) -> dict[str, Any]:
    """The streaming example of Hume's documentation: connect, send a file; more calls on the same connection."""
    options = {} if StreamConnectOptions is None else {"options": StreamConnectOptions(config=config)}
    async with client_of(url, key).expression_measurement.stream.connect(**options) as socket:
        result = await socket.send_file(file, config=config)
        text = await socket.send_text(text="I am so happy!", config=Config(language=StreamLanguage()))
        job = await socket.get_job_details()
        await socket.reset()
        again = await socket.send_file(file, config=config)
    return {"result": result.dict(), "text": text.dict(), "job": job.dict(), "again": again.dict()}


async def refused(url: str, file: str) -> str:
    """What the SDK says of a wrong key."""
    try:
        await example(url, "not-the-right-token", file, Config(face=StreamFace()))
    except Exception as error:  # noqa: BLE001 - whatever a version raises is what its users see
        return f"{getattr(error, 'status_code', None)}: {error}"
    return ""


async def main(url: str, token: str, file: str) -> None:
    faces = await example(url, token, file, Config(face=StreamFace(identify_faces=True)))
    both = await example(url, token, file, Config(face=StreamFace(), prosody={}, facemesh={}))
    told = {"faces": faces, "both": both["result"], "refused": await refused(url, file)}
    sys.stdout.write(json.dumps(told, default=str))


asyncio.run(main(*sys.argv[1:]))
