"""What ``scripts/soak`` calls flat, and what it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.soak import Sample, Soak, day, pieces_text, slope, trends

WELL = Soak(
    samples=[Sample(5.0 * n, 150.0 + 0.3 * (n % 3), 17 + n % 2) for n in range(100)],
    ready=True,
    pings=900,
    longest_ping_s=0.8,
    exit_code=0,
    stopped_s=0.7,
    health={"status": "ok", "problems": [], "components": {"vision": {"restarts": 0}}},
)


def test_noise_and_a_warm_up_are_flat() -> None:
    warm = [replace(s, rss_mb=90.0 + 2 * n) for n, s in enumerate(WELL.samples[:20])]
    assert replace(WELL, samples=[*warm, *WELL.samples[20:]]).faults() == []
    assert WELL.text().endswith("flat")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"samples": [replace(s, rss_mb=s.rss_mb + 0.02 * s.seconds) for s in WELL.samples]}, "memory grew by"),
        ({"samples": [replace(s, descriptors=17 + n // 20) for n, s in enumerate(WELL.samples)]}, "descriptors"),
        ({"ready": False}, "READY=1"),
        ({"longest_ping_s": 31.0}, "without a watchdog ping"),
        ({"exit_code": -11}, "ended with -11"),
        ({"stopped_s": 6.0}, "to stop"),
        ({"health": {}}, "health"),
        ({"health": {**WELL.health, "components": {"vision": {"restarts": 1}}}}, "restarted"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_exceeded_limit_is_named(changes: dict[str, object], fault: str) -> None:
    (found,) = replace(WELL, **changes).faults()  # type: ignore[arg-type]
    assert fault in found


def test_too_short_a_run_is_no_verdict() -> None:
    with pytest.raises(ValueError, match="too few"):
        trends(WELL.samples[:2])


def test_a_long_run_is_made_of_pieces() -> None:
    growing = [Sample(5.0 * n, 150.0 + n * 5 / 3600 * 1.048576, 17, 9, 1000 * n, 10 * n) for n in range(100)]
    assert slope(growing) == pytest.approx(1.0)
    assert day(growing, lambda one: one.written) == pytest.approx(1000 / 5 * 86_400)
    counters = {"produced": 50, "acked": 40, "merged_away": 2}
    health = {**WELL.health, "delivery": {"outbox": {"counters": counters, "pending": 5}}}
    piece = replace(WELL, samples=growing, health=health).piece()
    assert (piece["missed"], piece["threads"], piece["said"]) == (3, 9, "flat")
    text = pieces_text([piece, {**piece, "slope": -1.0, "said": "ended with -11"}])
    assert text.endswith("0.28 hours in 2 pieces, +0.00 MiB/h on average")
    assert "ended with -11" in text
