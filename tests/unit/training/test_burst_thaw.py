"""The int8 file as a PyTorch network that says the same."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest

pytest.importorskip("scipy", reason="training only: pip install edge-emotion-agent[train]")
pytest.importorskip("soundfile", reason="training only: pip install edge-emotion-agent[train]")
torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from training.burst import parity, thaw  # noqa: E402 - torch comes first


def shipped(package: str, name: str) -> bytes:
    return resources.files(package).joinpath(name).read_bytes()


def test_the_network_equals_the_file_before_and_after_unfolding_its_norms() -> None:
    net = thaw.thaw(shipped("edge_agent_burst", "burst.tflite"))
    windows = torch.from_numpy(parity.windows())[:, None]
    with torch.no_grad():
        before, _ = net(windows)
        thaw.spread(net, windows)
        after, _ = net(windows)
    # parity.json has what the float network said before it became the file.
    assert np.abs(before.softmax(1).numpy() - parity.read()).mean() < 0.02
    assert (before.argmax(1).numpy() == parity.read().argmax(1)).mean() > 0.9
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)


def test_spread_norms_have_the_statistics_of_the_windows() -> None:
    net = thaw.thaw(shipped("edge_agent_burst", "burst.tflite"))
    windows = torch.from_numpy(parity.windows())[:, None]
    thaw.spread(net, windows)
    with torch.no_grad():
        inputs = net.features[:3](windows)
        normalised = torch.nn.functional.batch_norm(
            net.features[3](inputs), net.features[4].running_mean, net.features[4].running_var, eps=0.0
        )
    torch.testing.assert_close(normalised.mean((0, 2, 3)), torch.zeros(40), atol=1e-3, rtol=0)
    torch.testing.assert_close(normalised.var((0, 2, 3)), torch.ones(40), atol=1e-2, rtol=0)


def test_another_network_is_refused() -> None:
    with pytest.raises(ValueError, match="holds another network"):
        thaw.thaw(shipped("edge_agent_emotion", "emotion.tflite"))
