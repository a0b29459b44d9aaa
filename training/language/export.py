"""Turn trained weights into the full-integer TFLite file that ships, and what stands beside it.

    python -m training.language.export --run runs/whole.npz --folds runs/fold*.npz --data ../shared/data/goemotions \\
        --out plugins/edge_agent_language

Needs TensorFlow, not PyTorch. The folds' logits on what they were not trained on give each class its calibration
(Platt's, folded into the last layer: the sigmoid of a logit is a probability) and its threshold.
``language.npz`` beside the model has the vocabulary's keys and the thresholds; the detector of English its own file.
The float weights are kept as ``training/language/shipped.npz``, to be committed with the file.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent_language.features import GRAMS, WORDS, Vocabulary, key, normalized, tokens
from training.language.dataset import load
from training.language.scoring import f1, fair_thresholds
from training.language.weights import SHIPPED, Kept, keep

Weights = Mapping[str, np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -60, 60)))


def platt(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[28, 2]: slope and offset for each class with which sigmoid(slope * logit + offset) fits best (Newton's method).

    The labels are drawn in a little as Platt did (1999), so that a rare class does not become certain.
    """
    found = []
    for z, y in zip(logits.T.astype(float), labels.T, strict=True):
        yes = y.sum()
        goal = np.where(y > 0, (yes + 1) / (yes + 2), 1 / (len(y) - yes + 2))
        x, w = np.stack([z, np.ones_like(z)], 1), np.array([0.0, np.log(goal.mean() / (1 - goal.mean()))])
        for _ in range(30):
            p = sigmoid(x @ w)
            step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + 1e-6 * np.eye(2), x.T @ (goal - p))
            w = w + step * min(1.0, 1.0 / np.abs(step).max())  # a whole step may end where the curve is flat
        found.append(w)
    return np.array(found)


def build(weights: Weights, calibration: np.ndarray) -> Any:
    """The same function in Keras, channels last, the calibration in its last layer."""
    import keras
    from keras import layers, ops

    tables = weights["words.weight"].shape, weights["grams.weight"].shape
    words = keras.Input((WORDS,), batch_size=1, dtype="int32", name="words")
    bag = keras.Input((GRAMS,), batch_size=1, dtype="int32", name="grams")
    counts = keras.Input((GRAMS,), batch_size=1, name="weights")
    near = layers.Conv1D(weights["near.bias"].shape[0], 3, padding="same", activation="relu")
    hidden, head = layers.Dense(weights["hidden.bias"].shape[0], activation="relu"), layers.Dense(28)
    first, second = layers.Embedding(*tables[0]), layers.Embedding(*tables[1])
    most = layers.GlobalMaxPooling1D()(near(first(words)))
    pieces = layers.Reshape((tables[1][1],))(ops.matmul(layers.Reshape((1, GRAMS))(counts), second(bag)))
    x = layers.Concatenate()([most, pieces])
    model = keras.Model([words, bag, counts], head(layers.Concatenate()([x, hidden(x)])))
    first.set_weights([weights["words.weight"]])
    second.set_weights([weights["grams.weight"]])
    near.set_weights([weights["near.weight"].transpose(2, 1, 0), weights["near.bias"]])
    hidden.set_weights([weights["hidden.weight"].T, weights["hidden.bias"]])
    slope, offset = calibration.T
    head.set_weights([weights["head.weight"].T * slope, weights["head.bias"] * slope + offset])
    return model


def convert(model: Any, inputs: list[tuple[np.ndarray, ...]]) -> bytes:
    """Full-integer conversion; ``inputs`` are what the model is to be calibrated on."""
    import tensorflow as tf

    def examples() -> Iterator[dict[str, np.ndarray]]:
        for one in inputs:  # by name: the converter has an order of its own
            yield dict(zip(("words", "grams", "weights"), one, strict=True))

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = examples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def clipped(table: np.ndarray, deviations: float = 8.0) -> np.ndarray:
    """A table without outliers: one scale is to serve all of its rows."""
    limit = deviations * float(table[1:].std())
    return np.clip(table, -limit, limit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--folds", type=Path, nargs="+", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    whole, dev = (load(args.data / f"goemotions_{split}.tsv") for split in ("train", "dev"))
    folds = [np.load(path) for path in args.folds]
    logits = np.concatenate([fold["left"] for fold in folds])
    labels = whole.labels[np.concatenate([fold["rows"] for fold in folds])]
    calibration = platt(logits, labels)
    run = np.load(args.run)
    p = sigmoid(logits * calibration[:, 0] + calibration[:, 1])
    thresholds = fair_thresholds(p, labels)
    said = sigmoid(run["dev"] * calibration[:, 0] + calibration[:, 1])
    print(f"kept back: macro {f1(p, labels, thresholds)[0]:.4f} micro {f1(p, labels, thresholds)[1]:.4f}")
    print("float, validation: macro {:.4f} micro {:.4f}".format(*f1(said, dev.labels, thresholds)[:2]))
    weights = {name.removeprefix("net."): run[name] for name in run.files if name.startswith("net.")}
    keys = {kind: np.array([key(str(name)) for name in run[kind]], np.uint32) for kind in ("words", "grams")}
    known = Vocabulary.of(keys["words"], keys["grams"])
    chosen = np.random.default_rng(0).permutation(len(whole.texts))[:400]
    model = build(weights, calibration)
    inputs = [known.rows(tokens(normalized(text))).inputs() for text in dev.texts[:32]]
    ours = np.concatenate([model.predict([np.asarray(part) for part in one], verbose=0) for one in inputs])
    error = float(np.abs(sigmoid(ours) - said[:32]).max())
    print(f"largest difference of a probability between Keras and PyTorch: {error:.4f}")
    if error > 0.02:
        raise SystemExit("the Keras copy is another network")
    weights |= {name: clipped(weights[name]) for name in ("words.weight", "grams.weight")}
    model = build(weights, calibration)
    content = convert(model, [known.rows(tokens(normalized(whole.texts[k]))).inputs() for k in chosen])
    (args.out / "language.tflite").write_bytes(content)
    np.savez_compressed(args.out / "language.npz", **keys, thresholds=thresholds.astype(np.float32))
    names = (tuple(map(str, run[kind])) for kind in ("words", "grams"))
    keep(Kept(weights, *names, calibration))
    print(
        f"{len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}; {SHIPPED.stat().st_size} bytes of floats"
    )


if __name__ == "__main__":
    main()
