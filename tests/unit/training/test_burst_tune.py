"""Tuning changes the later layers of the shipped burst network alone, towards labels, teachers and its own answers."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from training.burst import tune  # noqa: E402 - torch comes first
from training.burst.corpus import CLASSES, NO_LABEL  # noqa: E402
from training.burst.network import BurstNet  # noqa: E402
from training.burst.thaw import thaw  # noqa: E402


@pytest.fixture(scope="module")
def net() -> BurstNet:
    net = BurstNet(len(CLASSES)).eval()
    net.load_state_dict(tune.read(tune.SHIPPED))
    return net


def windows() -> torch.Tensor:
    return torch.rand((4, 1, 125, 64), generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_the_float_weights_that_are_kept_are_those_of_the_shipped_file(net: BurstNet, repository: Path) -> None:
    shipped = thaw((repository / "plugins" / "edge_agent_burst" / "burst.tflite").read_bytes())
    with torch.inference_mode():
        kept, quantized = (each(windows())[0].softmax(1) for each in (net, shipped))
    torch.testing.assert_close(kept, quantized, atol=0.03, rtol=0.0)


def test_frozen_and_learning_layers_are_the_network(net: BurstNet) -> None:
    with torch.inference_mode():
        maps = net.features[: 3 * tune.FROZEN](windows())
        torch.testing.assert_close(tune.Tail(net)(maps), net(windows())[0])
    assert maps.shape[1:] == (64, 32, 8)


def test_targets_are_shares_of_label_teacher_and_own_answers() -> None:
    opinions, own = torch.zeros(2, len(CLASSES)), torch.zeros(2, len(CLASSES))
    opinions[:, 1], own[:, 2] = 1, 1
    found = tune.targets(opinions, torch.tensor([0, NO_LABEL]), own)
    torch.testing.assert_close(found.sum(1), torch.ones(2))
    assert found[0, 0] > 0.5
    assert found[0, 1] > found[0, 2] > found[0, 3]
    torch.testing.assert_close(found[1, :3], torch.tensor([0.0, 0.33 / 0.45, 0.12 / 0.45]))


def test_the_later_layers_learn_and_the_others_and_batch_norms_stay(net: BurstNet) -> None:
    random = torch.Generator().manual_seed(0)
    maps = torch.rand((48, 64, 32, 8), generator=random).half()
    labels = torch.randint(0, len(CLASSES), (48,), generator=random)
    wanted = torch.nn.functional.one_hot(labels, len(CLASSES)).float()
    start = tune.Tail(net)
    end = tune.tune(copy.deepcopy(start), maps, wanted, tune.Plan(steps=40, batch=24, rate=3e-3, seed=0, drop=0.0))
    with torch.inference_mode():
        before, after = (torch.nn.functional.cross_entropy(each(maps.float()), wanted) for each in (start, end))
    assert after < before - 0.2
    for (name, mine), theirs in zip(start.named_buffers(), end.buffers(), strict=True):
        assert torch.equal(mine, theirs), name
    whole = tune.whole(net, end)
    same = [name for name, value in net.state_dict().items() if torch.equal(value, whole[name])]
    learned = {f"features.{k}.weight" for k in range(3 * tune.FROZEN, len(net.features), 3)}
    assert not learned & set(same)
    assert {f"features.{k}.weight" for k in range(0, 3 * tune.FROZEN, 3)} <= set(same)
