"""Simulate devices for load tests: scene, clock and uplink of each, around the real delivery stack.

Only what lies before delivery is simulated: nobody captures or analyses. The windows, events, roll-ups and health
documents are rendered by the same code as a real agent's, and go through the same outbox, sender and connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import secrets
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from edge_agent import __version__
from edge_agent.delivery import topics
from edge_agent.delivery.commands import FILTER
from edge_agent.delivery.service import DeliveryService
from edge_agent.domain.event import ARRIVAL, BURST, DEPARTURE, FUSION, PERSON, Event
from edge_agent.domain.observation import EMOTIONS, LANGUAGE_EMOTIONS
from edge_agent.domain.summary import (
    AttentionSums,
    BurstSums,
    EmotionSums,
    FaceSums,
    LanguageSums,
    Presence,
    StaySums,
    StreamSums,
    Summary,
    VoiceSums,
    Window,
)
from edge_agent.fleet.ledger import Ledger, RecordedLink
from edge_agent.payloads.device import (
    ComponentStatus,
    DeliveryFigures,
    HealthMessage,
    InfoMessage,
    PrivacyManifest,
    ProcessFigures,
    SourceHealth,
)
from edge_agent.payloads.rendering import presence_document, timestamp
from edge_agent.settings import Settings
from edge_agent.summary.context import Baseline, TrendKeeper
from edge_agent.summary.summariser import RollUp, merge_summaries

HEALTH_S = 30.0
"""Seconds between two health documents, as of a real agent."""

ALPHAS = (6.0, 3.0, 0.6, 0.6, 0.4, 0.2, 0.2, 0.2)
"""Dirichlet parameters of a visitor's expressions, in the order of :data:`EMOTIONS`."""

SETTLED_S = 240.0
"""Seconds of comings and goings before the first window."""

SOUNDS = {"laughter": 0.5, "cough": 0.3, "crying": 0.1, "sigh": 0.1}
"""Shares of the vocal bursts."""


@dataclass(frozen=True, slots=True)
class _Visitor:
    arrival: float
    departure: float
    p: tuple[float, ...]
    attentive: float


class SimulatedScene:
    """Seeded model of a place: people come, stay, express something and laugh.

    ``hears``: the place also has analyzers of voice and of words.
    """

    def __init__(self, rng: random.Random, begin: float, *, hears: bool) -> None:
        self._rng = rng
        self._hears = hears
        self._rate = rng.lognormvariate(math.log(1 / 45), 0.8)
        self._next = begin - SETTLED_S  # the place is as full as usual when the device starts
        self._present: list[_Visitor] = []

    def window(self, begin: float, end: float) -> tuple[Window, list[Event]]:
        """The window from ``begin`` to ``end`` (monotonic seconds, consecutive calls) and its events in order."""
        people = [v for v in self._advance(end) if v.departure >= begin]
        seconds = end - begin
        if self._rng.random() < 0.01:  # somebody covers the camera
            blind = StreamSums(round(15 * seconds), round(3 * seconds), 0, 0.0, seconds, frozenset({"covered"}))
            return Window(begin, end, stream=blind, unseen={"covered": seconds}), []
        gone = [v for v in people if v.departure < end]
        events = [Event(ARRIVAL, PERSON, 1.0, v.arrival, 0.0) for v in people if v.arrival >= begin]
        events += [Event(DEPARTURE, PERSON, 1.0, v.arrival, v.departure - v.arrival) for v in gone]
        bursts, fused, heard = self._sounds(begin, end, people)
        stays = [v.departure - v.arrival for v in gone]
        present = [(v, min(end, v.departure) - max(begin, v.arrival)) for v in people]
        together = max((sum(o.arrival <= v.arrival < o.departure for o in people) for v in people), default=0)
        window = Window(
            begin,
            end,
            faces=FaceSums(
                most=together,
                person_seconds=sum(time for _, time in present),
                seconds=seconds,
                carried=sum(v.arrival < begin for v in people),
                arrived=sum(v.arrival >= begin for v in people),
                together=together,
            ),
            emotion=self._expressions(present),
            bursts=bursts,
            fused=fused,
            stream=StreamSums(
                captured=round(15 * seconds),
                analysed=round(3 * seconds),
                dropped=int(self._rng.random() < 0.05),
                video_seconds=seconds,
                audio_seconds=seconds,
                flags=frozenset({"blurred"} if self._rng.random() < 0.02 else ()),
            ),
            attention=AttentionSums(
                weight=sum(time for _, time in present),
                score=sum(0.8 * v.attentive * time for v, time in present),
                looking=sum(v.attentive * time for v, time in present),
            ),
            stays=StaySums(len(stays), sum(stays), max(stays, default=0.0)),
            **(self._spoken(seconds) if self._hears and people else {}),
        )
        return window, sorted([*events, *heard], key=lambda event: event.start + event.seconds)

    def count(self, now: float) -> int:
        """Number of people in view at ``now``, the end of the last window."""
        return sum(v.arrival <= now < v.departure for v in self._present)

    def _advance(self, end: float) -> list[_Visitor]:
        """People in view at any time of the window that ends at ``end``."""
        rng = self._rng
        while self._next < end:
            weights = [rng.gammavariate(alpha, 1.0) for alpha in ALPHAS]
            p = tuple(weight / sum(weights) for weight in weights)
            stay = max(1.0, rng.lognormvariate(math.log(25), 0.9))
            self._present.append(_Visitor(self._next, self._next + stay, p, rng.betavariate(2, 2)))
            self._next += rng.expovariate(self._rate)
        people = [v for v in self._present if v.arrival < end]
        self._present = [v for v in self._present if v.departure >= end]
        return people

    def _expressions(self, present: list[tuple[_Visitor, float]]) -> EmotionSums:
        weights = [(v.p, 0.8 * time) for v, time in present]
        return EmotionSums(
            weight=sum(weight for _, weight in weights),
            p=tuple(sum(p[k] * weight for p, weight in weights) for k in range(len(EMOTIONS))),
            square=tuple(sum(p[k] ** 2 * weight for p, weight in weights) for k in range(len(EMOTIONS))),
            readings=round(sum(weight for _, weight in weights) / 2),
        )

    def _sounds(
        self, begin: float, end: float, people: list[_Visitor]
    ) -> tuple[dict[str, BurstSums], dict[str, BurstSums], list[Event]]:
        rng, seconds = self._rng, end - begin
        number = sum(rng.random() < 0.02 * seconds / 10 * (1 + len(people)) for _ in range(3))
        bursts: dict[str, BurstSums] = {}
        fused: dict[str, BurstSums] = {}
        events = []
        for _ in range(number):
            label = rng.choices(list(SOUNDS), list(SOUNDS.values()))[0]
            score, length = rng.uniform(0.5, 0.99), rng.uniform(0.3, 2.0)
            events.append(Event(BURST, label, score, rng.uniform(begin, max(begin, end - length)), length))
            before = bursts.get(label, BurstSums())
            bursts[label] = BurstSums(before.count + 1, max(before.peak, score), before.seconds + length)
            if label == "laughter" and people:
                both = "laughter+happiness"
                events.append(Event(FUSION, both, score, events[-1].start, length))
                before = fused.get(both, BurstSums())
                fused[both] = BurstSums(before.count + 1, max(before.peak, score), before.seconds + length)
        return bursts, fused, events

    def _spoken(self, seconds: float) -> dict[str, Any]:
        rng = self._rng
        if rng.random() < 0.5:
            return {}
        draws = [rng.betavariate(0.4, 4) for _ in LANGUAGE_EMOTIONS]
        utterances = rng.randint(1, 3)
        return {
            "voice": VoiceSums.of_turn(seconds * rng.uniform(0.1, 0.6), rng.uniform(-0.6, 0.6)),
            "language": LanguageSums(utterances, utterances * rng.randint(2, 9), 1, tuple(draws)),
        }


class FaultyClock:
    """The machine's clock, wrong by ``error`` seconds from monotonic time ``since`` until ``until``.

    ``known``: the device knows that it does not know the time, as after a power cut without a battery; otherwise it
    believes a wrong time server.
    """

    def __init__(self, error: float = 0.0, since: float = 0.0, until: float = 0.0, *, known: bool = False) -> None:
        self._error = error
        self._since = since
        self._until = until
        self._known = known

    @property
    def faulty(self) -> bool:
        """Whether the clock is wrong at any time."""
        return self._error != 0

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time() + (self._error if self._wrong() else 0.0)

    def synced(self) -> bool:
        return not (self._known and self._wrong())

    def _wrong(self) -> bool:
        return self._since <= time.monotonic() < self._until

    @classmethod
    def drawn(cls, rng: random.Random, share: float, begin: float, seconds: float) -> FaultyClock:
        """A clock that is faulty with probability ``share`` at some time of ``seconds`` from ``begin``."""
        if rng.random() >= share:
            return cls()
        if rng.random() < 0.5:
            return cls(-rng.uniform(1, 5) * 31_557_600, begin, begin + seconds * rng.uniform(0.2, 0.8), known=True)
        since = begin + seconds * rng.uniform(0.1, 0.5)
        return cls(rng.choice((-1, 1)) * rng.uniform(60, 7200), since, since + seconds * rng.uniform(0.1, 0.4))


class SimulatedDevice:
    """A device with a real delivery service and its outbox in ``settings.device.state_dir``; it may be started again.

    ``lean``: without the subscriptions of an agent, which cost each device a thread. One method at a time.
    """

    def __init__(
        self, settings: Settings, clock: FaultyClock, ledger: Ledger, rng: random.Random, *, lean: bool
    ) -> None:
        self.settings = settings
        self.down = True
        """Whether the device is not running."""
        self._clock = clock
        self._rng = rng
        self._lean = lean
        self._window_s = settings.summary.window_s
        self._hears = rng.random() < 0.3
        self._make_link = partial(RecordedLink, ledger=ledger, timely=not clock.faulty)

    @property
    def due(self) -> float:
        """Monotonic time at which :meth:`tick` is due."""
        return self._begin + self._window_s

    def start(self) -> None:
        """Start with a new boot_id."""
        self.boot_id = secrets.token_hex(4)
        self.delivery = DeliveryService(
            self.settings, self._clock, self.boot_id, self._info(), merge_summaries, make_link=self._make_link
        )
        if not self._lean:
            self.delivery.subscribe(self.delivery.topics.full(FILTER), lambda _command: None)
        self.delivery.start()
        now = time.monotonic()
        self._scene = SimulatedScene(self._rng, now, hears=self._hears)
        self._baseline, self._trend = Baseline(), TrendKeeper()
        self._rollup = RollUp(self.settings.summary.rollups)
        self._started, self._begin, self._health_due = now, now, now
        self.down = False

    def tick(self) -> None:
        """Close the window that is due."""
        begin, end = self._begin, self.due
        self._begin = end
        window, events = self._scene.window(begin, end)
        for event in events:
            self.delivery.submit_event(event, self._wall(event.start), self._state())
        trend = self._trend.next(window)
        summary = Summary(self._wall(begin), self._state(), self._baseline.apply(window), trend)
        self._baseline = self._baseline.learn(window.emotion)
        self.delivery.submit_summary(summary)
        for rolled in self._rollup.add(summary):
            self.delivery.publish_rollup(rolled.summary, rolled.level, rolled.number)
        presence = Presence(self._scene.count(end))
        self.delivery.publish_now(topics.PRESENCE, presence_document(presence, self.settings.device.id))
        if end >= self._health_due:
            self._health_due = end + HEALTH_S
            self.delivery.publish_state(topics.HEALTH, self._health(), expires=True)

    def stop(self) -> None:
        """Stop in order, as on SIGTERM."""
        self.down = True
        self.delivery.stop(deadline_s=2.0)

    def _wall(self, monotonic: float) -> float:
        return self._clock.wall() - (time.monotonic() - monotonic)

    def _state(self) -> Any:
        return "synced" if self._clock.synced() else "unsynced"

    def _info(self) -> dict[str, Any]:
        privacy = PrivacyManifest(
            context="public",
            camera=True,
            microphone=True,
            min_people=0,
            schedule=[],
            emotions=True,
            voice=self._hears,
            speech=self._hears,
            language=self._hears,
            local_sinks=[],
        )
        names = ["face", "emotion", "burst", "attention", "quality", *(["speech", "language", "voice"] * self._hears)]
        info = InfoMessage(
            version=__version__,
            name=self.settings.device.id,
            analyzers=dict.fromkeys(names, "enabled"),
            models={"blazeface": "ready", "emotion-fer": "ready", "burst": "ready"},
            window_s=self._window_s,
            privacy=privacy,
        )
        return info.model_dump(mode="json", exclude_defaults=True)

    def _health(self) -> dict[str, Any]:
        uptime = round(time.monotonic() - self._started)
        source = SourceHealth(available=True, reopens=0, off=False, unknown=None)
        component = ComponentStatus(alive=True, restarts=0)
        at: dict[str, Any] = {"at": timestamp(self._clock.wall())} if self._clock.synced() else {}
        health = HealthMessage(
            v=1,
            status="ok",
            problems=[],
            **at,
            uptime_s=uptime,
            components=dict.fromkeys(("camera", "vision", "microphone", "audio", "summary"), component),
            analyzers={},
            replaced={},
            sources={"camera": source, "microphone": source},
            delivery=DeliveryFigures.model_validate(self.delivery.stats().document()),
            commands={},
            process=ProcessFigures(
                rss_mb=130.0,
                cpu_s=round(0.2 * uptime, 1),
                descriptors=40,
                temperature_c=round(self._rng.gauss(52, 4), 1),
            ),
        )
        return health.model_dump(mode="json", exclude_defaults=True)


class Uplinks:
    """TCP relays to a broker, one a site, on loopback ports; each can be cut or fall silent."""

    def __init__(self, host: str, port: int, count: int) -> None:
        self._upstream = host, port
        self._loop = asyncio.new_event_loop()
        self._passing = [asyncio.Event() for _ in range(count)]
        self._away = [False] * count
        self._open: list[set[asyncio.StreamWriter]] = [set() for _ in range(count)]
        for passing in self._passing:
            passing.set()
        threading.Thread(target=self._loop.run_forever, name="uplinks", daemon=True).start()
        self.ports = asyncio.run_coroutine_threadsafe(self._listen(count), self._loop).result(30)

    async def _listen(self, count: int) -> list[int]:
        servers = [
            await asyncio.start_server(lambda r, w, site=site: self._relay(site, r, w), "127.0.0.1", 0)  # type: ignore[misc]
            for site in range(count)
        ]
        return [server.sockets[0].getsockname()[1] for server in servers]

    def cut(self, site: int) -> None:
        """End all connections of ``site`` and refuse new ones."""
        self._loop.call_soon_threadsafe(self._cut, site)

    def silence(self, site: int) -> None:
        """Keep the connections of ``site`` open but hold back what is sent on them."""
        self._loop.call_soon_threadsafe(self._passing[site].clear)

    def restore(self, site: int) -> None:
        """Make ``site`` work again."""
        self._loop.call_soon_threadsafe(self._restore, site)

    def _cut(self, site: int) -> None:
        self._away[site] = True
        for writer in self._open[site]:
            writer.transport.abort()

    def _restore(self, site: int) -> None:
        self._away[site] = False
        self._passing[site].set()

    async def _relay(self, site: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            if self._away[site]:
                return
            upstream, outwards = await asyncio.open_connection(*self._upstream)
            writers.append(outwards)
            self._open[site].update(writers)
            pumps = [self._pump(site, reader, outwards), self._pump(site, upstream, writer)]
            _, left = await asyncio.wait([asyncio.ensure_future(p) for p in pumps], return_when="FIRST_COMPLETED")
            for pump in left:
                pump.cancel()
        except OSError:
            pass  # the broker is away, and so is the uplink
        finally:
            self._open[site].difference_update(writers)
            for each in writers:
                each.transport.abort()

    async def _pump(self, site: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self._passing[site].wait()
                writer.write(data)
                await writer.drain()
