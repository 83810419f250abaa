"""One ready component of every registered kind; `pytest_generate_tests` runs the suites over them.

A new component needs an entry in `MAKERS`; `test_completeness.py` fails until it has one.
"""

from dataclasses import replace

import numpy as np
import pytest

from llmrec.component import FitContext, find_component
from llmrec.fuse import ReciprocalRankFusion, RrfConfig
from llmrec.models import PairScorer, TextEncoder
from llmrec.rerank import CrossEncoder
from llmrec.retrieve import (
    AlsConfig,
    Bm25Config,
    BprConfig,
    DenseConfig,
    EaseConfig,
    EraConfig,
    ItemKnnConfig,
    LookalikeConfig,
    MultVaeConfig,
    NextItemConfig,
    PopularityConfig,
    TransitionConfig,
    fit_als,
    fit_bm25,
    fit_bpr,
    fit_dense,
    fit_ease,
    fit_era,
    fit_item_knn,
    fit_lookalike,
    fit_multvae,
    fit_next_item,
    fit_popularity,
    fit_transition,
)
from llmrec.testing.contracts import reload
from llmrec.testing.fusion import learned_fusion
from llmrec.text import load_template
from llmrec.types import Candidates


def _dense(get, **settings):
    config = DenseConfig(encoder=str(get("bert")), **settings)
    return fit_dense(get("catalog"), config, TextEncoder.load(config.encoder), name="dense")


def _sequence(get, work, **settings):
    component = find_component("sequence")
    sizes = {"encoder": str(get("bert")), "item_template": "item/title", "dim": 8, "epochs": 2, "max_length": 4}
    context = FitContext("sequence", get("catalog"), get("interactions"), work=work)
    return component.fit(context, component.config.model_validate({**sizes, **settings}))


def _semantic(get, **settings):
    component = find_component("semantic_id")
    sizes = {"encoder": str(get("bert")), "item_template": "item/title", "dim": 8, "heads": 2, "epochs": 2}
    context = FitContext("semantic_id", get("catalog"), get("interactions"), work=get("work"))
    return component.fit(context, component.config.model_validate({**sizes, "max_length": 4, **settings}))


def _lookalike(get, **settings):
    config = LookalikeConfig(encoder=str(get("bert")), item_template="item/title", **settings)
    context = FitContext("lookalike", get("catalog"), get("interactions"))
    return fit_lookalike(context, config, TextEncoder.load(config.encoder))


def _tuned(get):
    component = find_component("tuned_dense")
    sizes = {"encoder": str(get("bert")), "item_template": "item/title", "batch_size": 16}
    context = FitContext("tuned_dense", get("catalog"), get("interactions"), work=get("work"))
    return component.fit(context, component.config.model_validate(sizes))


def _log_model(fit, config, **options):
    return lambda get: fit(get("interactions"), get("catalog"), config, **options)


def _pairs(get):
    model, template = PairScorer.load(str(get("pair_model"))), load_template("pair/history")
    return CrossEncoder("cross_encoder", model, template, 20, get("catalog"))


def _language(name, **more):
    def make(get):
        component = find_component(name)
        context = FitContext(name, get("catalog"), get("interactions"))
        settings = {"model": str(get("causal_model")), "max_tokens": 400, "item_tokens": 40, **more}
        return component.fit(context, component.config.model_validate(settings))

    return make


def _policy(name, **settings):
    def make(get):
        component = find_component(name)
        context = FitContext(name, get("catalog"), get("interactions"))
        return component.fit(context, component.config.model_validate(settings))

    return make


MAKERS = {
    "retriever": {
        "popularity": lambda get: fit_popularity(get("interactions"), get("catalog")),
        "popularity/fading": lambda get: fit_popularity(
            get("interactions"), get("catalog"), PopularityConfig(half_life=1e-4)
        ),
        "ease": lambda get: fit_ease(get("interactions"), get("catalog"), EaseConfig(l2=5.0)),
        "ease/text": _log_model(fit_ease, EaseConfig(l2=5.0, text_weight=2.0, top=5)),
        "next_item": _log_model(fit_next_item, NextItemConfig(l2=5.0)),
        "next_item/text": _log_model(fit_next_item, NextItemConfig(l2=5.0, text_weight=2.0, top=5)),
        "transition": _log_model(fit_transition, TransitionConfig(neighbours=4)),
        "lookalike": lambda get: _lookalike(get, neighbours=3),
        "era": _log_model(fit_era, EraConfig()),
        "lookalike/all": lambda get: _lookalike(get, transition=TransitionConfig(neighbours=2), index="hnsw"),
        "sequence": lambda get: _sequence(get, get("work"), items="both"),
        "sequence/text": lambda get: _sequence(get, get("work"), items="text", loss="sampled", negatives=4),
        "sequence/id": lambda get: _sequence(get, get("work"), items="id", architecture="gru"),
        "semantic_id": lambda get: _semantic(get, codes=3),
        "semantic_id/one level": lambda get: _semantic(get, levels=1, codes=2, layers=1),
        "als": _log_model(fit_als, AlsConfig(factors=4)),
        "multvae": _log_model(fit_multvae, MultVaeConfig(hidden=8, latent=4, epochs=5)),
        "bpr": _log_model(fit_bpr, BprConfig(factors=4, iterations=10)),
        "bpr/ridge": _log_model(fit_bpr, BprConfig(factors=4, iterations=10, fold_in="ridge")),
        "item_knn": lambda get: fit_item_knn(get("interactions"), get("catalog"), ItemKnnConfig(neighbours=4)),
        "bm25": lambda get: fit_bm25(get("catalog"), Bm25Config()),
        "bm25/bigrams": lambda get: fit_bm25(get("catalog"), Bm25Config(tokenizer="bigrams", history=2)),
        "dense": _dense,
        "tuned_dense": _tuned,
        "dense/hnsw": lambda get: _dense(get, index="hnsw"),
        "dense/ivfpq": lambda get: _dense(get, index="ivfpq"),
        "dense/user text": lambda get: _dense(get, user_template="user/recent"),
    },
    "scorer": {
        "cross_encoder": _pairs,
        "yes_no": _language("yes_no"),
        "title_likelihood": _language("title_likelihood"),
        "title_likelihood/shots": _language("title_likelihood", shots=2, max_tokens=600),
        "yes_no/shots": _language("yes_no", shots=2, max_tokens=600),
        "listwise": _language("listwise", window=6, step=4, item_tokens=20, max_tokens=600),
        "listwise/shots": _language("listwise", window=8, step=4, passes=2, shots=1, shown=2, max_tokens=1000),
        "pairwise": _language("pairwise", depth=4, max_tokens=600),
        "pairwise/shots": _language("pairwise", depth=5, opponents=2, shots=1, max_tokens=800),
    },
    "fusion": {
        "rrf": lambda get: ReciprocalRankFusion("rrf", RrfConfig(), {"ease": 1.0, "dense": 0.5, "popularity": 0.0}),
        "rrf/min-max": lambda get: ReciprocalRankFusion(
            "rrf", RrfConfig(norm="min-max"), {"ease": 1.0, "dense": 0.5, "popularity": 0.0}
        ),
        "lambdamart": lambda get: learned_fusion(get("catalog"), get("interactions")),
        "lambdamart/fallback": lambda get: learned_fusion(get("catalog"), get("interactions"), n=30),
    },
    "policy": {
        "seen": _policy("seen"),
        "availability": _policy(
            "availability", deny_ids=["i3"], deny={"genres": ["Thriller"]}, allow={"year": list(range(1980, 1991))}
        ),
        "boost": _policy("boost", ids={"i7": 3, "i0": -2.5}, fields={"genres": {"Drama": 2}}, separator=" "),
        "caps": _policy("caps", field="genres", at_most=2, values={"Comedy": 1}, separator=" "),
        "diversity": _policy("diversity", fields=["genres", "year"], separator=" ", strength=0.6),
        "diversity/texts": lambda get: _policy("diversity", encoder=str(get("bert")), strength=0.6)(get),
        "exploration": _policy("exploration", epsilon=0.5, pool=3),
        "freshness": _policy("freshness", field="year", kind="year", max_age=2600, half_life=1000, places=4),
        "pin": _policy("pin", items={"i11": 1, "i3": 4}),
    },
}


def pytest_generate_tests(metafunc):
    for role, makers in MAKERS.items():
        if role in metafunc.fixturenames:
            metafunc.parametrize(role, makers, indirect=True, scope="session")


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    """A folder for what training writes."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="session")
def suites():
    """Registered name to role, of everything the suites run over."""
    return {name.split("/")[0]: role for role, makers in MAKERS.items() for name in makers}


@pytest.fixture(scope="session")
def made(request):
    """Make a component once: `made(role, name)`."""
    ready = {}

    def make(role, name):
        if name not in ready:
            ready[name] = MAKERS[role][name](request.getfixturevalue)
        return ready[name]

    return make


@pytest.fixture(scope="session")
def retriever(request, made):
    return made("retriever", request.param)


@pytest.fixture(scope="session")
def scorer(request, made):
    return made("scorer", request.param)


@pytest.fixture(scope="session")
def fusion(request, made):
    return made("fusion", request.param)


@pytest.fixture(scope="session")
def policy(request, made):
    return made("policy", request.param)


@pytest.fixture(scope="session")
def reloaded(tmp_path_factory, catalog):
    """Bring a component back from a bundle on disk, once."""
    ready = {}

    def bring(component):
        if id(component) not in ready:
            ready[id(component)] = reload(component, catalog, tmp_path_factory.mktemp("reload"))
        return ready[id(component)]

    return bring


@pytest.fixture(scope="session")
def candidates(queries):
    """Candidates of every query with random columns, ties and gaps in them, for queries without a wish too."""
    rng = np.random.default_rng(3)
    items = np.stack([rng.permutation(12)[:8] for _ in range(len(queries))]).astype(np.int32)
    columns = {}
    for name in ("ease", "dense", "popularity"):
        column = rng.integers(0, 5, items.shape).astype(np.float32)
        column[rng.random(items.shape) < 0.2] = np.nan
        columns[name] = column
    return Candidates(items, columns)


@pytest.fixture(scope="session")
def unanimous(candidates):
    """The same with evidence everywhere in the place that the unanimity check uses."""
    columns = {name: np.where(np.isnan(c), np.float32(0), c) for name, c in candidates.columns.items()}
    return replace(candidates, columns=columns)
