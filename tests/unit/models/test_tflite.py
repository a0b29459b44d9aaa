"""The runtime wrapper: numbers in and out, and everything it refuses."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from edge_agent.domain.errors import ModelError
from edge_agent.models import TfliteModel
from edge_agent.models.tflite import RUNTIMES
from tests.unit.models.tiny_model import relu


def test_float_model_computes() -> None:
    model = TfliteModel(relu([1, 4]))
    (result,) = model([[-1.0, 0.0, 0.5, 2.0]])
    assert result.dtype == np.float32
    assert result.tolist() == [[0.0, 0.0, 0.5, 2.0]]
    assert model.inputs[0].scale is None


def test_quantized_model_is_fed_and_read_in_real_numbers() -> None:
    model = TfliteModel(relu([1, 4], scales=[0.5], zero_points=[-8]))
    (result,) = model([[-3.0, 0.26, 1.5, 4.0]])
    assert model.inputs[0].dtype == np.int8
    assert result.dtype == np.float32
    assert result.tolist() == [[0.0, 0.5, 1.5, 4.0]]


def test_quantization_saturates_instead_of_wrapping() -> None:
    model = TfliteModel(relu([1, 2], scales=[0.5], zero_points=[0]))
    assert model.inputs[0].encode([[1e9, -1e9]]).tolist() == [[127, -128]]
    assert model([[1e9, -1e9]])[0].tolist() == [[63.5, 0.0]]


def test_results_are_copies() -> None:
    model = TfliteModel(relu([1, 2]))
    (first,) = model([[1.0, 2.0]])
    model([[5.0, 6.0]])
    assert first.tolist() == [[1.0, 2.0]]


def test_axes_of_length_one_may_be_left_out() -> None:
    assert TfliteModel(relu([1, 3]))([1.0, 2.0, 3.0])[0].shape == (1, 3)


def test_a_wrong_shape_is_named() -> None:
    with pytest.raises(ModelError, match=r"'in' has the shape \[1, 3\], got \[4\]"):
        TfliteModel(relu([1, 3]))(np.zeros(4))


def test_a_wrong_number_of_inputs_is_named() -> None:
    with pytest.raises(ModelError, match="takes 1 inputs, got 2"):
        TfliteModel(relu([1, 3]))(np.zeros(3), np.zeros(3))


def test_per_channel_inputs_are_refused() -> None:
    with pytest.raises(ModelError, match="per channel"):
        TfliteModel(relu([1, 2], scales=[0.5, 0.25], zero_points=[0, 0]))


def test_inputs_without_a_fixed_shape_are_refused() -> None:
    with pytest.raises(ModelError, match="no fixed shape"):
        TfliteModel(relu([1, 2], signature=[-1, 2]))


def test_truncated_and_foreign_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "cut.tflite"
    whole = relu([1, 4])
    for content in (b"", b"not a model", whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(ModelError, match=r"cut\.tflite is not a usable TFLite model"):
            TfliteModel(file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.tflite is not a usable"):
        TfliteModel(tmp_path / "gone.tflite")


def test_a_runtime_that_imports_and_then_fails_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As tflite-runtime 2.14 does under numpy 2.
    (tmp_path / "sick_runtime.py").write_text("def Interpreter(**_):\n    raise SystemError('initialization failed')\n")
    monkeypatch.syspath_prepend(tmp_path)
    model = TfliteModel(relu([1, 2]), runtimes=("absent_runtime", "sick_runtime", RUNTIMES[0]))
    assert model.runtime == "ai-edge-litert"
    with pytest.raises(
        ModelError, match=r"absent-runtime: No module.*; sick-runtime: initialization failed.*pip install"
    ):
        TfliteModel(relu([1, 2]), runtimes=("absent_runtime", "sick_runtime"))


def test_nothing_is_loaded_at_import() -> None:
    code = "import sys, edge_agent.models; sys.exit(any(m.split('.')[0] == 'ai_edge_litert' for m in sys.modules))"
    import subprocess

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_wrapper_and_bare_runtime_agree_on_a_real_int8_model(repository: Path) -> None:
    file = repository / "plugins" / "edge_agent_emotion" / "emotion.tflite"
    model = TfliteModel(file, threads=2)
    picture = np.random.default_rng(1).uniform(-1, 1, model.inputs[0].shape).astype(np.float32)
    bare = import_module("ai_edge_litert.interpreter").Interpreter(model_path=str(file), num_threads=1)
    bare.allocate_tensors()
    source, target = bare.get_input_details()[0], bare.get_output_details()[0]
    scale, zero = source["quantization"]
    bare.set_tensor(source["index"], np.clip(np.round(picture / scale) + zero, -128, 127).astype(np.int8))
    bare.invoke()
    scale, zero = target["quantization"]
    expected = (bare.get_tensor(target["index"]).astype(np.float32) - zero) * scale
    np.testing.assert_allclose(model(picture)[0], expected, atol=1e-5)
