"""The contract runs over both databases."""

import pytest

from llmrec.serve.records import Impression
from llmrec.serve.store import open_store


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """An empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'contract.sqlite'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def both(url):
    """An empty store of either kind."""
    with open_store(url) as opened:
        yield opened


@pytest.fixture
def shown():
    """Make an impression."""

    def make(name, user_id="u", items=("a", "b"), time=100.5, **others):
        scores = tuple(1.0 / (place + 3) for place in range(len(items)))
        values = {"alias": "default", "bundle": "b1", "propensities": None, **others}
        return Impression(id=name, user_id=user_id, items=tuple(items), scores=scores, time=time, **values)

    return make
