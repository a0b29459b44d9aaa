"""From PyTorch weights to the int8 model: the same network in Keras, batch normalization folded, converted.

    python -m training.burst.export --run runs/v1 --out burst.tflite

Runs where TensorFlow is installed and PyTorch need not be: :mod:`training.burst.dump` writes what it reads. Padding is
made explicit because Keras pads strided layers asymmetrically.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from training.burst.layers import FRAMES_AND_BANDS, LAYERS

Weights = Mapping[str, npt.NDArray[np.float32]]


def build(weights: Weights) -> tf.keras.Model:
    """Keras model: [1, 125, 64, 1] to class probabilities."""
    frames, bands = FRAMES_AND_BANDS
    inputs = x = tf.keras.Input((frames, bands, 1), batch_size=1)
    for number, layer in enumerate(LAYERS):
        if layer.padding != (0, 0):
            x = tf.keras.layers.ZeroPadding2D(layer.padding)(x)
        convolution = tf.keras.layers.Conv2D(layer.channels, layer.kernel, layer.stride, activation="relu")
        x = convolution(x)
        convolution.set_weights(folded(weights, 3 * number))
    mean = tf.keras.layers.GlobalAveragePooling2D()(x)
    most = tf.keras.layers.GlobalMaxPooling2D()(x)
    classify = tf.keras.layers.Dense(len(weights["classify.bias"]), activation="softmax")
    outputs = classify(tf.keras.layers.Concatenate()([mean, most]))
    classify.set_weights([weights["classify.weight"].T, weights["classify.bias"]])
    return tf.keras.Model(inputs, outputs)


def folded(weights: Weights, index: int) -> list[npt.NDArray[np.float32]]:
    """Kernel [time, frequency, in, out] and bias of convolution ``index`` with its batch normalization."""
    norm = f"features.{index + 1}"
    scale = weights[f"{norm}.weight"] / np.sqrt(weights[f"{norm}.running_var"] + 1e-5)
    kernel = weights[f"features.{index}.weight"] * scale[:, None, None, None]
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    return [kernel.transpose(2, 3, 1, 0), bias]


def convert(model: tf.keras.Model, calibration: npt.NDArray[np.float32]) -> bytes:
    """Full int8, input and output included. ``calibration`` is float32 [n, 125, 64]."""

    def examples() -> Iterator[list[npt.NDArray[np.float32]]]:
        for window in calibration:
            yield [window[None, :, :, None]]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = examples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="folder with weights.npz and calibration.npz")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    model = build(np.load(args.run / "weights.npz"))
    calibration = np.load(args.run / "calibration.npz")
    content = convert(model, calibration["windows"])
    args.out.write_bytes(content)
    print(f"{args.out}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")
    ours = model.predict(calibration["windows"][:64, :, :, None], batch_size=1, verbose=0)
    difference = float(np.abs(ours - calibration["probabilities"][:64]).max())
    print(f"largest difference between Keras and PyTorch: {difference:.5f}")


if __name__ == "__main__":
    main()
