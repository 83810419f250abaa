"""What the tests on real data share: the user's own cache, so that assets and embeddings are made once."""

from __future__ import annotations

import os

import pytest

import llmrec

CACHE = os.environ.get("LLMREC_CACHE")  # as it is before the suite sets its own


@pytest.fixture(scope="module", autouse=True)
def _users_cache():
    with pytest.MonkeyPatch.context() as patch:
        if CACHE is None:
            patch.delenv("LLMREC_CACHE", raising=False)
        else:
            patch.setenv("LLMREC_CACHE", CACHE)
        yield


@pytest.fixture(scope="module")
def data(_users_cache):
    return llmrec.load_dataset("ml-100k")
