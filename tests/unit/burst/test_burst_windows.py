"""Cutting blocks into windows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_agent_burst.yamnet import Windows


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 12))
def test_every_window_holds_the_samples_it_claims(lengths: list[int], hop: int) -> None:
    length = 12
    stream = np.arange(sum(lengths), dtype=np.float32)
    windows = Windows(length, hop)
    seen: list[int] = []
    position = 0
    for n in lengths:
        for begin, window in windows.feed(stream[position : position + n]):
            np.testing.assert_array_equal(window, stream[begin : begin + length])
            seen.append(begin)
        position += n
    assert seen == list(range(0, len(stream) - length + 1, hop))
    rest = list(windows.drain())
    covered = seen[-1] + length if seen else 0
    assert len(rest) == (1 if len(stream) > covered else 0)
    for begin, window in rest:
        np.testing.assert_array_equal(window[: len(stream) - begin], stream[begin:])
        assert not window[len(stream) - begin :].any()
    assert list(windows.drain()) == []
