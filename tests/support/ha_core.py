"""A real Home Assistant core with only its MQTT integration, driven over stdin and stdout; runs in a venv of its own.

Usage: ``python ha_core.py CONFIG_DIR BROKER_PORT``. One JSON request a line is answered by one JSON line:
``{"do": "states"}`` → entity id to state and attributes; ``{"do": "registry"}`` → entity id to unique id; ``{"do":
"events"}`` → state changes of event entities so far; ``{"do": "occupied"}`` → when occupancy went on; ``{"do": "call",
"service": "switch.turn_on", "data": {…}}``;
``{"do": "birth"}`` publishes the birth message again; ``{"do": "trigger", "name": …, "config": {…}}`` sets up a trigger
as an automation would (a device trigger is one of the only device), ``{"do": "fired"}`` → how often each fired so far.
``{"do": "automations", "configs": […]}`` sets up automations, with ``DEVICE`` for the id of the only device; blueprints
are read from ``CONFIG_DIR/blueprints``. ``{"do": "bus", "event": …}`` → how many of these were fired since it was first
asked for. ``{"do": "version"}`` → of Home Assistant, ``{"do": "device"}`` → name and link of the only device. Ends
with its stdin. The first line it prints is ``ready``.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from homeassistant import bootstrap, config_entries, const, core, loader
from homeassistant.components.mqtt import const as mqtt_const
from homeassistant.const import EVENT_STATE_CHANGED, Platform
from homeassistant.helpers import device_registry, entity_registry, trigger
from homeassistant.setup import async_setup_component

PLATFORMS = ("binary_sensor", "button", "event", "number", "select", "sensor", "switch", "update")


async def start(folder: str, port: int) -> core.HomeAssistant:
    """The core with a connected MQTT integration; http and file upload, which it only wants for its forms, left out."""
    Path(folder, "configuration.yaml").touch()
    hass = core.HomeAssistant(folder)
    hass.config.skip_pip = True
    hass.config.components.update({"http", "file_upload", "websocket_api"})
    # The other platforms pull in what has nothing to do with us: numpy, av, a web server.
    platforms = getattr(mqtt_const, "ENTITY_PLATFORMS", None) or mqtt_const.PLATFORMS
    platforms[:] = [Platform(name) for name in PLATFORMS]
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    loader.async_setup(hass)
    await bootstrap.async_load_base_functionality(hass)
    assert await async_setup_component(hass, "homeassistant", {})
    await hass.async_start()
    values = {
        "version": 1,
        "minor_version": 1,
        "domain": "mqtt",
        "title": "mqtt",
        "source": "user",
        "data": {"broker": "127.0.0.1", "port": port, "discovery": True, "discovery_prefix": "homeassistant"},
    }
    # Later versions want more, all of it empty.
    more = {"discovery_keys": {}, "options": {}, "subentries_data": (), "unique_id": None}
    wanted = inspect.signature(config_entries.ConfigEntry.__init__).parameters
    entry = config_entries.ConfigEntry(**values, **{name: value for name, value in more.items() if name in wanted})
    await hass.config_entries.async_add(entry)
    assert entry.state is config_entries.ConfigEntryState.LOADED, entry.state
    return hass


class Desk:
    """Answers requests about ``hass``."""

    def __init__(self, hass: core.HomeAssistant) -> None:
        self._hass = hass
        self._events: list[dict[str, Any]] = []
        self._occupied: list[float] = []
        self._fired: dict[str, int] = {}
        self._questions: dict[str, Callable[[], Any]] = {
            "states": lambda: {s.entity_id: {"state": s.state, **_attributes(s)} for s in hass.states.async_all()},
            "registry": lambda: {e.entity_id: e.unique_id for e in entity_registry.async_get(hass).entities.values()},
            "events": lambda: self._events,
            "occupied": lambda: self._occupied,
            "fired": lambda: self._fired,
            "version": lambda: const.__version__,
            "device": self._device,
        }
        self._heard: dict[str, int] = {}
        hass.bus.async_listen(EVENT_STATE_CHANGED, self._changed)

    @core.callback
    def _changed(self, event: core.Event) -> None:
        state = event.data["new_state"]
        if state is not None and state.domain == "binary_sensor" and "occupancy" in state.entity_id:
            self._occupied += [state.last_changed.timestamp()] if state.state == "on" else []
        if state is not None and state.domain == "event" and state.state not in ("unknown", "unavailable"):
            before = event.data["old_state"]
            if before is None or before.state != state.state:
                self._events.append({"entity": state.entity_id, "at": state.state, **_attributes(state)})

    async def answer(self, request: dict[str, Any]) -> Any:
        """What was asked for."""
        if request["do"] in self._questions:
            return self._questions[request["do"]]()
        if request["do"] == "bus":
            return self._bus(request["event"])
        if request["do"] == "automations":
            return await self._automations(request["configs"])
        if request["do"] == "trigger":
            return await self._trigger(request["name"], request["config"])
        if request["do"] == "birth":
            data = {"topic": "homeassistant/status", "payload": "online"}
            await self._hass.services.async_call("mqtt", "publish", data, blocking=True)
            return None
        domain, service = request["service"].split(".")
        await self._hass.services.async_call(domain, service, request["data"], blocking=True)
        return None

    def _bus(self, event: str) -> int:
        if event not in self._heard:
            self._heard[event] = 0

            @core.callback
            def hear(_: core.Event) -> None:
                self._heard[event] += 1

            self._hass.bus.async_listen(event, hear)
        return self._heard[event]

    def _device(self) -> dict[str, Any]:
        (device,) = device_registry.async_get(self._hass).devices.values()
        return {"id": device.id, "name": device.name, "url": device.configuration_url, "version": device.sw_version}

    async def _automations(self, configs: list[dict[str, Any]]) -> None:
        configs = json.loads(json.dumps(configs).replace("DEVICE", self._device()["id"]))
        # A blueprint that cannot be used is told by the log only.
        assert await async_setup_component(self._hass, "automation", {"automation": configs})
        await self._hass.async_block_till_done()

    async def _trigger(self, name: str, config: dict[str, Any]) -> None:
        if config["platform"] == "device":
            (device,) = device_registry.async_get(self._hass).devices.values()
            config = config | {"device_id": device.id, "domain": "mqtt"}
        self._fired[name] = 0

        async def fire(*_: Any) -> None:
            self._fired[name] += 1

        checked = await trigger.async_validate_trigger_config(self._hass, [config])
        await trigger.async_initialize_triggers(self._hass, checked, fire, "test", name, logging.log)


def _attributes(state: core.State) -> dict[str, Any]:
    return json.loads(json.dumps(dict(state.attributes), default=str))


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main() -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    hass = await start(sys.argv[1], int(sys.argv[2]))
    desk = Desk(hass)
    say("ready")
    while line := await hass.loop.run_in_executor(None, sys.stdin.readline):
        try:
            answer = {"ok": await desk.answer(json.loads(line))}
        except Exception as error:  # noqa: BLE001 - told to the test, which judges it
            answer = {"error": f"{type(error).__name__}: {error}"}
        say(json.dumps(answer, default=str))
    await hass.async_stop(force=True)


if __name__ == "__main__":
    asyncio.run(main())
