"""How a period is told: steps say how long they are, since windows need not fit into a minute."""

from __future__ import annotations

from edge_agent.app.history import History
from edge_agent.domain.summary import FaceSums, StreamSums, Summary, Window
from edge_agent.web.analytics import report

NOON = 1_790_000_400.0


def test_steps_of_windows_that_do_not_fit_into_a_minute_leave_no_gap() -> None:
    history = History()
    for k in range(27):
        faces, stream = FaceSums(1, 7.0, 7.0, 1, 0), StreamSums(70, 21, 0, 7.0, 7.0)
        history.add(Summary(NOON + 7.0 * k, "synced", Window(7.0 * k, 7.0 * (k + 1), faces, stream=stream)))
    steps = report(history, NOON, NOON + 600, "kiosk-1", 60)["series"]
    assert [(step["start"], step["seconds"]) for step in steps] == [
        ("2026-09-21T14:20:00.000Z", 63.0),
        ("2026-09-21T14:21:03.000Z", 63.0),
        ("2026-09-21T14:22:06.000Z", 63.0),
    ]
    assert [step["streaming"]["gaps"] for step in steps] == [{"video": 0.0, "audio": 0.0}] * 3
