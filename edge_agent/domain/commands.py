"""Registry of commands: name, value, permission, description and Home Assistant entities of each, in one declaration.

Settings (``commands.allow``), the MQTT command server, the command handlers, the web API, Home Assistant discovery and
the table in ``docs/mqtt.md`` are made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, WithJsonSchema

CommandName = Literal[
    "status",
    "privacy",
    "camera",
    "microphone",
    "profile",
    "max_fps",
    "pause",
    "resume",
    "reset",
    "reload",
    "log_level",
]
Profile = Literal["monitor", "standard", "detail"]
LogLevel = Literal["debug", "info", "warning", "error"]
Resettable = Literal["stream", "baseline"]
Device = Literal["camera", "microphone"]

LONGEST_PAUSE_S = 86_400.0
DEFAULT_PAUSE_S = 900
LEAST_FPS, MOST_FPS = 0.1, 60.0

PauseSeconds = Annotated[float, Field(gt=0, le=LONGEST_PAUSE_S, allow_inf_nan=False)]
LooksPerSecond = Annotated[
    float | None,
    Field(allow_inf_nan=False),
    BeforeValidator(lambda value: None if value == "auto" else value),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"const": "auto"}]}),
]


@dataclass(frozen=True, slots=True)
class EntitySpec:
    """Home Assistant control of a command.

    ``key`` is the entity's key where it is not the command's name, ``press`` what a button sends. There is no entity
    without the device that it ``needs``.
    """

    platform: Literal["switch", "select", "number", "button"]
    name: str
    icon: str
    key: str = ""
    press: str = "{}"
    needs: Device | None = None


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """One command.

    ``value`` is the type that the value is validated against, as pydantic reads it; None: the command takes no value.
    ``default`` stands in for a missing value. ``expects`` replaces pydantic's message where a value is refused.
    ``range`` are the least and the most value on any device; the config may narrow it.

    ``permission``: ``read`` changes nothing, ``control`` does. ``override``: the value is kept as a runtime override,
    over restarts, by the method of the control that is called ``set_`` and the command's name. ``releases``: the answer
    waits until the devices that are switched off are released.

    ``values`` and ``description`` are the row of the table in ``docs/mqtt.md``.
    """

    name: CommandName
    values: str
    description: str
    value: Any = None
    default: object = None
    expects: str = ""
    range: tuple[float, float] | None = None
    permission: Literal["read", "control"] = "control"
    override: bool = False
    releases: bool = False
    entities: tuple[EntitySpec, ...] = ()


_SPECS = (
    CommandSpec("status", "–", "answers with the state and publishes `health` at once", permission="read"),
    CommandSpec(
        "privacy",
        "on, off",
        "camera and microphone are released, or taken up again",
        value=bool,
        override=True,
        releases=True,
        entities=(EntitySpec("switch", "Privacy", "mdi:eye-off"),),
    ),
    CommandSpec(
        "camera",
        "on, off",
        "the camera is released, or taken up again; on is refused while privacy is on and during a pause",
        value=bool,
        override=True,
        releases=True,
        entities=(EntitySpec("switch", "Camera", "mdi:camera", needs="camera"),),
    ),
    CommandSpec(
        "microphone",
        "on, off",
        "the same for the microphone",
        value=bool,
        override=True,
        releases=True,
        entities=(EntitySpec("switch", "Microphone", "mdi:microphone", needs="microphone"),),
    ),
    CommandSpec(
        "profile",
        "`monitor`, `standard`, `detail`",
        "how often the camera is looked at",
        value=Profile,
        override=True,
        entities=(EntitySpec("select", "Profile", "mdi:speedometer", needs="camera"),),
    ),
    CommandSpec(
        "max_fps",
        "number, `auto`",
        "the most looks a second, bursts included, within `pacing.min_fps` and `pacing.max_fps` of the config; `auto`: "
        "as configured",
        value=LooksPerSecond,
        range=(LEAST_FPS, MOST_FPS),
        override=True,
        entities=(
            EntitySpec("number", "Most frames per second", "mdi:speedometer", needs="camera"),
            EntitySpec(
                "button", "Frames per second automatic", "mdi:speedometer", "max_fps_auto", "auto", needs="camera"
            ),
        ),
    ),
    CommandSpec(
        "pause",
        f"seconds, at most {LONGEST_PAUSE_S:.0f} ({DEFAULT_PAUSE_S})",
        "releases both for that long",
        value=PauseSeconds,
        default=DEFAULT_PAUSE_S,
        range=(0.0, LONGEST_PAUSE_S),
        releases=True,
        entities=(EntitySpec("button", "Pause for 15 minutes", "mdi:pause", "pause_button", str(DEFAULT_PAUSE_S)),),
    ),
    CommandSpec(
        "resume",
        "–",
        "ends a pause",
        entities=(EntitySpec("button", "End the pause", "mdi:play", "resume_button"),),
    ),
    CommandSpec(
        "reset",
        "`stream`, `baseline`",
        "`stream`: closes and opens camera and microphone, forgets who was in view; `baseline`: forgets what this "
        "place usually shows, and learns it anew",
        value=Resettable,
        expects=f"what to reset, one of: {', '.join(get_args(Resettable))}",
        entities=(EntitySpec("button", "Reopen camera and microphone", "mdi:restart", "reset_button", "stream"),),
    ),
    CommandSpec(
        "reload",
        "–",
        "reads the config file again; a bad one is refused and reported on `health`",
        entities=(EntitySpec("button", "Reload the config", "mdi:file-refresh", "reload_button"),),
    ),
    CommandSpec(
        "log_level",
        "`debug`, `info`, `warning`, `error`",
        "the least severe level that is logged, until changed again",
        value=LogLevel,
        override=True,
    ),
)

REGISTRY: Mapping[str, CommandSpec] = {spec.name: spec for spec in _SPECS}
"""Every command by its name, in the order in which they are listed."""


def table() -> str:
    """Markdown table of all commands, for ``docs/mqtt.md``."""
    rows = [f"| `{spec.name}` | {spec.values} | {spec.description} |" for spec in REGISTRY.values()]
    return "\n".join(["| command | value | effect |", "| --- | --- | --- |", *rows])
