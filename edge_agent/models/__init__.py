"""Model files and running them: what exists (catalogue), where it is (store), and the one TFLite wrapper (tflite)."""

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
