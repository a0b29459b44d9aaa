"""Turn trained weights into the full-integer TFLite file that ships.

    python -m training.emotion.export --weights runs/v1/weights.pt --data PATH --out emotion.tflite

The network is rebuilt in Keras with explicit padding (PyTorch pads strided convolutions symmetrically, "same" does
not), batch norm folded into the convolutions, and the fitted temperature folded into the last layer, so that the
softmax of the int8 logits is calibrated as it is.

The float weights are kept as ``training/emotion/shipped.npz``, to be committed with the file.

Input: int8 [1, 48, 48, 1] for grey in [-1, 1]; output: int8 logits [1, 8].
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from training.emotion.augment import Augment
from training.emotion.dataset import CLASSES, load
from training.emotion.network import ConvBlock, EmotionNet
from training.emotion.scoring import fit_temperature, predict
from training.emotion.weights import keep, load_weights


def folded(block: ConvBlock) -> tuple[np.ndarray, np.ndarray]:
    """Kernel [3, 3, in, out] and bias [out] with the batch norm folded in."""
    norm = block.norm
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    kernel = block.conv.weight * scale[:, None, None, None]
    bias = norm.bias - norm.running_mean * scale
    return kernel.permute(2, 3, 1, 0).detach().numpy(), bias.detach().numpy()


def to_keras(net: EmotionNet, temperature: float):  # type: ignore[no-untyped-def]
    """The same function as ``net(x) / temperature`` in Keras, channels last."""
    import keras
    from keras import layers

    inputs = keras.Input((48, 48, 1), batch_size=1)
    x, pending = inputs, []
    for block in net.features:
        stride = block.conv.stride[0]
        y = layers.ZeroPadding2D(1)(x) if stride == 2 else x
        conv = layers.Conv2D(block.conv.out_channels, 3, stride, "valid" if stride == 2 else "same")
        y = conv(y)
        pending.append((conv, folded(block)))
        x = layers.ReLU()(layers.Add()([x, y]) if block.residual else y)
    x = layers.GlobalAveragePooling2D()(x)
    head = layers.Dense(8)
    model = keras.Model(inputs, head(x))
    pending.append(
        (head, ((net.head.weight.T / temperature).detach().numpy(), (net.head.bias / temperature).detach().numpy()))
    )
    for layer, weights in pending:
        layer.set_weights(weights)
    return model


def convert(model, calibration: np.ndarray) -> bytes:  # type: ignore[no-untyped-def]
    """Full-integer conversion; ``calibration`` is float32 [n, 48, 48, 1] in [-1, 1]."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([face[None]] for face in calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def calibration_set(images: np.ndarray, count: int = 500) -> np.ndarray:
    """Half plain and half augmented training faces, as the camera will deliver them."""
    chosen = torch.from_numpy(images[np.random.default_rng(0).permutation(len(images))[:count]])
    plain = chosen[: count // 2, None].float() / 127.5 - 1
    mixed = torch.cat([plain, Augment(0)(chosen[count // 2 :])])
    return mixed.permute(0, 2, 3, 1).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    net, valid = load_weights(args.weights), load(args.data / "ferplus_valid.npz")
    if not isinstance(net, EmotionNet):
        parser.error(f"{args.weights} is a teacher, which is not exported")
    # Calibrated on the winning labels: a probability of .8 is to be right eight times in ten.
    winners = torch.nn.functional.one_hot(torch.from_numpy(valid.labels), len(CLASSES)).float()
    temperature = fit_temperature(predict(net, valid.images), winners)
    print(f"temperature {temperature:.3f}")
    model = to_keras(net, temperature)
    x = valid.images[:64, :, :, None].astype(np.float32) / 127.5 - 1
    reference = predict(net, valid.images[:64]).numpy() / temperature
    ours = np.concatenate([model.predict(face[None], verbose=0) for face in x])
    error = float(np.abs(ours - reference).max())
    if error > 1e-3:
        raise SystemExit(f"the Keras copy differs from the PyTorch network by {error:.4f}")
    keep(net)
    args.out.write_bytes(convert(model, calibration_set(load(args.data / "ferplus_train.npz").images)))
    print(f"{args.out}: {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
