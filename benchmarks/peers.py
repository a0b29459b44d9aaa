"""What others would run instead of the agent: workers that do one round of work for each line on standard input.

Run in a virtual environment of its own (:mod:`benchmarks.suite` makes it), so nothing of the agent is imported here.
``mediapipe``: MediaPipe's Python face detection on prepared pictures. ``written``: what people write today, each frame
of a film through MediaPipe and mini-XCEPTION in Keras (random weights: the cost is the same). ``lean``: the leanest
loop one could write, each frame through BlazeFace and an emotion model in LiteRT, which needs no peer.
Answers are JSON lines: ``cpu`` seconds of the process, ``pictures``, ``found`` (pictures with a face).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

Round = Callable[[], tuple[int, int, float]]
"""Returns the pictures, those with a face, and the processor seconds that the pictures left out would have taken."""


def every(film: str, stride: int) -> Iterator[Any]:
    """Decode a film with OpenCV, as such loops do; yield each ``stride``-th frame, BGR."""
    import cv2

    capture, index = cv2.VideoCapture(film), 0
    while (read := capture.read())[0]:
        if index % stride == 0:
            yield read[1]
        index += 1


def mediapipe(pictures: str) -> Round:
    """Detect faces in RGB pictures, uint8 [n, height, width, 3] in an .npy file, near range."""
    import mediapipe as mp

    frames = np.load(pictures)
    detector = mp.solutions.face_detection.FaceDetection(model_selection=0, min_detection_confidence=0.5)

    def work() -> tuple[int, int, float]:
        return len(frames), sum(bool(detector.process(frame).detections) for frame in frames), 0.0

    return work


def written(film: str, stride: str) -> Round:
    """Every ``stride``-th frame of a film: faces by MediaPipe, each crop through mini-XCEPTION's ``predict``."""
    import cv2
    import mediapipe as mp

    detector = mp.solutions.face_detection.FaceDetection(model_selection=0, min_detection_confidence=0.5)
    network = mini_xception()

    def work() -> tuple[int, int, float]:
        count, found, spent = 0, 0, 0.0
        for frame in every(film, int(stride)):
            began = time.process_time()
            count += 1
            boxes = detector.process(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)).detections or ()
            found += bool(boxes)
            grey, (height, width) = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), frame.shape[:2]
            for box in (one.location_data.relative_bounding_box for one in boxes):
                x, y = max(0, int(box.xmin * width)), max(0, int(box.ymin * height))
                crop = grey[y : y + max(2, int(box.height * height)), x : x + max(2, int(box.width * width))]
                face = cv2.resize(crop, (64, 64)).astype(np.float32) / 127.5 - 1
                network.predict(face[None, :, :, None], verbose=0)
            spent += time.process_time() - began
        return count, found, spent * (int(stride) - 1)

    return work


def mini_xception() -> Any:
    """mini-XCEPTION (Arriaga et al. 2017): four residual blocks of separable convolutions, 64 x 64 grey, 7 classes."""
    from keras import Input, Model, layers

    inputs = Input((64, 64, 1))
    x = inputs
    for _ in range(2):
        x = layers.Activation("relu")(layers.BatchNormalization()(layers.Conv2D(8, 3, use_bias=False)(x)))
    for width in (16, 32, 64, 128):
        short = layers.BatchNormalization()(layers.Conv2D(width, 1, strides=2, padding="same", use_bias=False)(x))
        x = layers.BatchNormalization()(layers.SeparableConv2D(width, 3, padding="same", use_bias=False)(x))
        x = layers.SeparableConv2D(width, 3, padding="same", use_bias=False)(layers.Activation("relu")(x))
        x = layers.MaxPooling2D(3, strides=2, padding="same")(layers.BatchNormalization()(x))
        x = layers.add([x, short])
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(7, 3, padding="same")(x))
    return Model(inputs, layers.Activation("softmax")(x))


def lean(film: str, stride: str, face_model: str, emotion_model: str) -> Round:
    """Every ``stride``-th frame of a film: BlazeFace, then the emotion model for each face, with no checks at all."""
    import cv2
    from ai_edge_litert.interpreter import Interpreter

    faces, emotions = (Interpreter(model, num_threads=1) for model in (face_model, emotion_model))
    for network in (faces, emotions):
        network.allocate_tensors()
    into, (one, two) = faces.get_input_details()[0]["index"], faces.get_output_details()
    boxes_at, scores_at = (one["index"], two["index"]) if one["shape"][2] == 16 else (two["index"], one["index"])
    reads = emotions.get_input_details()[0]
    side = int(reads["shape"][1])

    def search(frame: Any) -> bool:
        small = cv2.cvtColor(cv2.resize(frame, (128, 128)), cv2.COLOR_BGR2RGB)
        faces.set_tensor(into, small[None].astype(np.float32) / 127.5 - 1)
        faces.invoke()
        scores = faces.get_tensor(scores_at)[0, :, 0]
        if scores.max() < 0:
            return False
        faces.get_tensor(boxes_at)
        crop = cv2.cvtColor(cv2.resize(frame[100:300, 200:400], (side, side)), cv2.COLOR_BGR2GRAY)
        emotions.set_tensor(reads["index"], crop[None, :, :, None].astype(reads["dtype"]))
        emotions.invoke()
        return True

    def work() -> tuple[int, int, float]:
        count, found, spent = 0, 0, 0.0
        for frame in every(film, int(stride)):
            began = time.process_time()
            count += 1
            found += search(frame)
            spent += time.process_time() - began
        return count, found, spent * (int(stride) - 1)

    return work


def main() -> None:
    makers: dict[str, Callable[..., Round]] = {"mediapipe": mediapipe, "written": written, "lean": lean}
    work = makers[sys.argv[1]](*sys.argv[2:])
    work()  # the first round loads and compiles
    print(json.dumps({"ready": True}), flush=True)
    for _line in sys.stdin:
        began = time.process_time()
        pictures, found, left_out = work()
        told = {"cpu": time.process_time() - began + left_out, "pictures": pictures, "found": found}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
