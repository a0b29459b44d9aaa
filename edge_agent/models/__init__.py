"""TFLite models: catalogue of known files, download, store, and the wrapper that runs them."""

from edge_agent.models.catalogue import Catalogue, ModelEntry, ModelFile, WheelMember
from edge_agent.models.fetch import Progress, Transfer
from edge_agent.models.store import ModelState, ModelStatus, ModelStore, Pulled, cache_dir, default_dir
from edge_agent.models.tflite import TensorInfo, TfliteModel

__all__ = [
    "Catalogue",
    "ModelEntry",
    "ModelFile",
    "ModelState",
    "ModelStatus",
    "ModelStore",
    "Progress",
    "Pulled",
    "TensorInfo",
    "TfliteModel",
    "Transfer",
    "WheelMember",
    "cache_dir",
    "default_dir",
]
