"""Merge neighbouring windows exactly: the sums of the whole are those of its parts."""

from __future__ import annotations

from collections.abc import Mapping

from edge_agent.domain.summary import (
    BurstSums,
    EmotionSums,
    FaceSums,
    MeasureSums,
    StaySums,
    StreamSums,
    UsualSums,
    Window,
    add_network,
)


def merge(a: Window, b: Window) -> Window:
    """The window that covers ``a`` and then ``b`` (same boot, ``a`` first). Exact and associative.

    Raises:
        ValueError: when ``b`` begins before ``a`` ends.
    """
    if b.begin < a.end - 1e-6:
        raise ValueError(f"windows overlap: {a.begin:.3f}..{a.end:.3f} and {b.begin:.3f}..{b.end:.3f}")
    return Window(
        begin=a.begin,
        end=b.end,
        faces=FaceSums(
            most=max(a.faces.most, b.faces.most),
            person_seconds=a.faces.person_seconds + b.faces.person_seconds,
            seconds=a.faces.seconds + b.faces.seconds,
            carried=a.faces.carried,
            arrived=a.faces.arrived + b.faces.arrived,
            together=max(a.faces.together, b.faces.together),
        ),
        emotion=EmotionSums(
            weight=a.emotion.weight + b.emotion.weight,
            p=_add(a.emotion.p, b.emotion.p),
            square=_add(a.emotion.square, b.emotion.square),
            readings=a.emotion.readings + b.emotion.readings,
            carried=a.emotion.carried,
        ),
        bursts=_merge_all(a.bursts, b.bursts),
        measures={k: merge_measures(a.measures, b.measures, k) for k in sorted({*a.measures, *b.measures})},
        stream=StreamSums(
            captured=a.stream.captured + b.stream.captured,
            analysed=a.stream.analysed + b.stream.analysed,
            dropped=a.stream.dropped + b.stream.dropped,
            video_seconds=a.stream.video_seconds + b.stream.video_seconds,
            audio_seconds=a.stream.audio_seconds + b.stream.audio_seconds,
            flags=a.stream.flags | b.stream.flags,
            latency=a.stream.latency + b.stream.latency,
            slowest=max(a.stream.slowest, b.stream.slowest),
            resized=a.stream.resized + b.stream.resized,
        ),
        attention=a.attention + b.attention,
        stays=StaySums(
            count=a.stays.count + b.stays.count,
            seconds=a.stays.seconds + b.stays.seconds,
            longest=max(a.stays.longest, b.stays.longest),
        ),
        usual=UsualSums(a.usual.weight + b.usual.weight, _add(a.usual.p, b.usual.p)),
        fused=_merge_all(a.fused, b.fused),
        withheld=a.withheld + b.withheld,
        unseen=_sum_all(a.unseen, b.unseen),
        unheard=_sum_all(a.unheard, b.unheard),
        language=a.language + b.language,
        voice=a.voice + b.voice,
        identity=a.identity + b.identity,
        network=add_network(a.network, b.network),
    )


def _merge_all(a: Mapping[str, BurstSums], b: Mapping[str, BurstSums]) -> dict[str, BurstSums]:
    return {k: merge_bursts(a, b, k) for k in sorted({*a, *b})}


def _sum_all(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
    return {k: a.get(k, 0.0) + b.get(k, 0.0) for k in sorted({*a, *b})}


def _add(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True))


def merge_bursts(a: Mapping[str, BurstSums], b: Mapping[str, BurstSums], label: str) -> BurstSums:
    """The sums of ``label`` in both."""
    x, y = a.get(label, BurstSums()), b.get(label, BurstSums())
    return BurstSums(x.count + y.count, max(x.peak, y.peak), x.seconds + y.seconds)


def merge_measures(a: Mapping[str, MeasureSums], b: Mapping[str, MeasureSums], name: str) -> MeasureSums:
    """The sums of ``name`` in both, of which one must have it."""
    if name not in a or name not in b:
        return a.get(name) or b[name]
    x, y = a[name], b[name]
    return MeasureSums(x.count + y.count, x.total + y.total, min(x.low, y.low), max(x.high, y.high))
