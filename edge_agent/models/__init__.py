"""TFLite models: catalogue of known files, download, store, and the wrapper that runs them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edge_agent.models.catalogue import Catalogue, ModelEntry, ModelFile, WheelMember
from edge_agent.models.store import ModelState, ModelStatus, ModelStore, Pulled, cache_dir, default_dir

if TYPE_CHECKING:
    from edge_agent.models.fetch import Progress, Transfer
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

_LATER = {"Progress": "fetch", "TensorInfo": "tflite", "TfliteModel": "tflite", "Transfer": "fetch"}
"""Names imported at their first use, with their module: numpy and http.client take longer than all the rest."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
