"""Property test of the outbox: any sequence of use, age, crashes, lack of space and damage keeps its guarantees."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge_agent.delivery.outbox.records import Row
from edge_agent.domain.clock import ManualClock
from tests.support.outboxes import MQTT, make_outbox, query
from tests.support.payloads import validated
from tests.support.windows import event_draft, summary_draft

DAY = 86_400.0


class OutboxMachine(RuleBasedStateMachine):
    """The model: how many windows were put and how many went in rows that were acked or buried. Keys change hands when
    windows merge, so what is checked is that keys are unique and that no window is missing.
    """

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")  # what is tested here does not depend on how slow the disk is
        self.root = Path(tempfile.mkdtemp(prefix="outbox-machine-", dir=memory if memory.is_dir() else None))
        self.folder = self.root / "0"
        self.clock = ManualClock(wall=1_780_000_000.0)
        self.wall_at_zero = self.clock.wall()
        self.boot = 1
        self.begin = 0.0
        self.produced = 0
        self.finished: set[tuple[str, int]] = set()
        self.finished_windows = 0
        self.leased: list[Row] = []
        self.damaged = False
        self.outbox = self._open()

    def _open(self):  # type: ignore[no-untyped-def]
        return make_outbox(self.folder, clock=self.clock, boot_id=f"b{self.boot}", max_mb=2.0, max_age_days=2.0)

    def teardown(self) -> None:
        self.outbox.close()
        shutil.rmtree(self.root)

    # -- use ----------------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 12), share=st.floats(0, 1))
    def put(self, count: int, share: float) -> None:
        drafts = []
        for k in range(count):
            make = summary_draft if k < share * count else event_draft
            drafts.append(make(self.begin, self.wall_at_zero))
            self.begin += 10.0
        self.outbox.put(drafts)
        self.produced += count

    @rule(limit=st.integers(1, 20), live_s=st.sampled_from([0.0, 30.0]))
    def lease(self, limit: int, live_s: float) -> None:
        rows = self.outbox.lease(MQTT, limit, live_s)
        assert len(rows) <= limit
        keys = [(row.boot_id, row.seq) for row in rows]
        assert not set(keys) & {(row.boot_id, row.seq) for row in self.leased}, "leased twice"
        assert not set(keys) & self.finished, "finished rows come back"
        for group in ([r for r in rows if r.live], [r for r in rows if not r.live]):
            assert [r.id for r in group] == sorted(r.id for r in group)
        for row in rows:
            assert validated(row.payload)["seq"] == row.seq
        self.leased += rows

    def _some(self, share: float) -> list[Row]:
        count = round(share * len(self.leased))
        some, self.leased = self.leased[:count], self.leased[count:]
        return some

    def _finish(self, rows: list[Row]) -> None:
        self.finished |= {(row.boot_id, row.seq) for row in rows}
        self.finished_windows += sum(row.merged for row in rows)

    @precondition(lambda self: self.leased)
    @rule(share=st.floats(0, 1))
    def ack(self, share: float) -> None:
        some = self._some(share)
        self.outbox.ack(MQTT, [row.id for row in some])
        self._finish(some)

    @precondition(lambda self: self.leased)
    @rule(share=st.floats(0, 1))
    def nack(self, share: float) -> None:
        self.outbox.nack(MQTT, [row.id for row in self._some(share)])

    @precondition(lambda self: self.leased)
    @rule()
    def bury(self) -> None:
        row = self.leased.pop()
        self.outbox.dead_letter(MQTT, [row.id], "test")
        self._finish([row])

    @rule()
    def connection_lost(self) -> None:
        self.outbox.release(MQTT)
        self.leased.clear()

    @rule(seconds=st.sampled_from([1.0, 60.0, 3600.0, DAY]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.begin = max(self.begin, self.clock.monotonic())
        self.outbox.maintain()

    @rule()
    def little_space(self) -> None:
        """Put enough rows to cause merging, and dropping when that is not enough."""
        for _ in range(6):
            self.put(60, 0.5)

    # -- faults -------------------------------------------------------------------------------------------------------

    @rule(clean=st.booleans(), new_boot=st.booleans())
    def restart(self, clean: bool, new_boot: bool) -> None:
        """Close properly, or leave the files as SIGKILL does, and open again."""
        counters = self.outbox.stats().counters
        if clean:
            self.outbox.close()
        else:
            copy = self.root / str(len(list(self.root.iterdir())))
            copy.mkdir()
            for name in ("outbox.db", "outbox.db-wal", "mark", "ballast"):
                if (self.folder / name).exists():
                    shutil.copy(self.folder / name, copy / name)
            self.outbox.close()
            self.folder = copy
        self.boot += new_boot
        self.outbox = self._open()
        assert self.outbox.stats().counters == counters
        self.leased.clear()

    @rule(seed=st.integers(0, 1000), size=st.integers(1, 6000))
    def damage(self, seed: int, size: int) -> None:
        """Overwrite some bytes of the file while it is closed."""
        self.outbox.close()
        file = self.folder / "outbox.db"
        data = bytearray(file.read_bytes())
        rng = random.Random(seed)
        at = rng.randrange(len(data))
        data[at : at + size] = rng.randbytes(len(data[at : at + size]))
        file.write_bytes(data)
        self.outbox = self._open()
        self.leased.clear()
        self.damaged = True
        self.finished.clear()  # acked rows may be back: at least once
        assert self.outbox.stats().degraded is None

    # -- promises -----------------------------------------------------------------------------------------------------

    @invariant()
    def adds_up(self) -> None:
        stats = self.outbox.stats()
        assert stats.balanced, stats
        assert query(self.folder, "SELECT count(*) FROM items")[0][0] == stats.pending
        assert stats.size <= stats.limit
        if not self.damaged:
            assert stats.counters.produced == self.produced

    @invariant()
    def nothing_is_lost_unsaid(self) -> None:
        """Every window is in exactly one row, stored or finished, unless a loss was counted."""
        counters = self.outbox.stats().counters
        if self.damaged or counters.dropped:
            return
        stored = query(self.folder, "SELECT boot_id, seq, merged FROM items")
        keys = {(boot_id, seq) for boot_id, seq, _ in stored}
        assert len(keys) == len(stored), "a key is used twice"
        assert not keys & self.finished
        assert sum(merged for *_, merged in stored) + self.finished_windows == self.produced


OutboxMachine.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
TestOutboxMachine = OutboxMachine.TestCase
