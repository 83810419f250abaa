"""What every test shares: caches of its own, and tiny data and models made once a run."""

import re

import numpy as np
import pytest

from llmrec.build import fit
from llmrec.config import Config
from llmrec.testing.data import tiny_catalog, tiny_interactions
from llmrec.types import Queries


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Keep the tests out of the user's caches and off the network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("LLMREC_LAB", str(tmp_path_factory.mktemp("lab") / "lab.sqlite"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("LLMREC_THREADS", "1")  # tiny models: threads would wait for each other, not work
        patch.setenv("LLMREC_DTYPE", "float32")  # what a test expects must not depend on the machine
        yield


@pytest.fixture(scope="session")
def catalog():
    return tiny_catalog()


@pytest.fixture(scope="session")
def interactions(catalog):
    return tiny_interactions(0, catalog)


@pytest.fixture(scope="session")
def queries():
    """Histories of several lengths, an empty one, and one with a wish."""
    return Queries.from_lists([[], [0, 1, 2], [3], [9, 5, 4, 8, 7], [6, 2]], [None, None, None, None, "red night"])


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    """The folder of a tiny random text encoder."""
    from llmrec.testing.models import tiny_bert

    return tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def pair_model(tmp_path_factory):
    """The folder of a tiny random cross-encoder."""
    from llmrec.testing.models import tiny_cross_encoder

    return tiny_cross_encoder(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="session")
def causal_model(tmp_path_factory):
    """The folder of a tiny random causal language model."""
    from llmrec.testing.models import tiny_llama
    from llmrec.text import list_templates

    # words of chat templates are a token each: a chat has some hundred, not a thousand letters
    parts = [text for template in list_templates() if template.kind == "chat" for text in template.parts.values()]
    words = ["red", "night", *re.findall(r"[A-Za-z]{2,}", " ".join(parts))]
    return tiny_llama(tmp_path_factory.mktemp("causal"), words=words, positions=1024)


@pytest.fixture(scope="session")
def transformers_server(tmp_path_factory):
    """The URL of a `transformers serve` of a tiny model, and the model's folder, which is its name there."""
    from llmrec.testing.endpoint import transformers_lacks, transformers_serve
    from llmrec.testing.models import tiny_llama

    if lacking := transformers_lacks():
        pytest.skip(f"transformers serve needs {', '.join(lacking)}: pip install 'transformers[serving]'")
    folder = tiny_llama(tmp_path_factory.mktemp("served") / "tiny", words=["Yes", "No", "Heat", "robot"])
    with transformers_serve(folder, folder.parent / "log") as url:
        yield url, folder


@pytest.fixture(scope="session")
def hybrid_config(bert):
    """Popularity, EASE and dense retrieval in one stage."""
    dense = {"encoder": str(bert), "item_template": "item/title"}
    retrievers = {"popularity": {}, "ease": {"l2": 5.0}, "dense": dense}
    return Config.from_dict({"stages": [{"name": "hybrid", "retrievers": retrievers}]})


@pytest.fixture(scope="session")
def hybrid(hybrid_config, catalog, interactions):
    """A recommender with one hybrid stage."""
    return fit(hybrid_config, catalog, interactions)


@pytest.fixture(scope="session")
def cascade(hybrid, pair_model):
    """Two stages: the hybrid one, which keeps few, and a random cross-encoder."""
    from dataclasses import replace

    from llmrec.fuse import ReciprocalRankFusion, RrfConfig
    from llmrec.models import PairScorer
    from llmrec.rerank import CrossEncoder
    from llmrec.stage import Stage
    from llmrec.text import load_template

    scorer = CrossEncoder(
        "cross_encoder", PairScorer.load(str(pair_model)), load_template("pair/history"), 20, hybrid.catalog
    )
    fusion = ReciprocalRankFusion("rerank_fusion", RrfConfig(), {"hybrid": 1.0, "cross_encoder": 1.0})
    first = replace(hybrid.stages[0], keep=4)
    return replace(hybrid, stages=(first, Stage("rerank", (), (scorer,), fusion, 4)))


@pytest.fixture
def rng():
    return np.random.default_rng(0)
