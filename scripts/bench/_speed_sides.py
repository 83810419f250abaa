"""Both sides of `speed.py`: ours put together from parts, the plain one fed with the same."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import llmrec
from llmrec.assets import find_asset
from llmrec.component import FitContext, find_component
from llmrec.data import Dataset, Holdout, leave_last_out
from llmrec.fuse.rrf import ReciprocalRankFusion, RrfConfig
from llmrec.models import PairScorer, Placement, TextEncoder
from llmrec.pipeline import Recommender
from llmrec.policy.seen import Seen
from llmrec.rerank.cross_encoder import CrossEncoder
from llmrec.retrieve import Dense, DenseConfig, fit_dense, fit_popularity
from llmrec.stage import Stage
from llmrec.text import load_template, render_items

__all__ = ["HISTORY", "Ours", "Task", "read_task", "tuned_cross_encoder"]

HISTORY = 10
"""Items of a history that is reranked for: as long as titles of it fit into a pair."""

ITEM_TOKENS = 32
TUNING_CASES = 600


@dataclass(frozen=True, slots=True)
class Task:
    """What both sides are asked.

    Attributes:
        data: the catalog and the log.
        texts: of all items.
        cases: validation cases, for quality.
        histories: histories of validation cases with `HISTORY` items or more, their last `HISTORY`.
        encoder: folder of the text encoder.
        cross_encoder: folder of the cross-encoder.
        shared: folder of one that reads a history once for all candidates.
        pair_tokens: tokens of a pair that they read.
    """

    data: Dataset
    texts: list[str]
    cases: Holdout
    histories: list[list[int]]
    encoder: Path
    cross_encoder: Path
    shared: Path
    pair_tokens: int


def read_task(args: argparse.Namespace) -> Task:
    """Load the data and find the models; cross-encoders that are not given are tuned for some minutes each, once."""
    found = llmrec.load_dataset(args.data or args.name)
    split = leave_last_out(found.interactions)
    texts = list(render_items(load_template("item/title"), found.catalog))
    long = np.flatnonzero(np.diff(split.validation.queries.offsets) >= HISTORY)
    order = np.random.default_rng(0).permutation(long)
    known = split.validation.queries
    histories = [known.items[known.offsets[row] : known.offsets[row + 1]][-HISTORY:].tolist() for row in order]
    cross, shared = (
        given or tuned_cross_encoder(found, args, args.work / name, shared=name == "shared")
        for name, given in (("whole", args.cross_encoder), ("shared", args.shared))
    )
    return Task(found, texts, split.validation, histories, find_asset(args.encoder), cross, shared, args.pair_tokens)


def tuned_cross_encoder(data: Dataset, args: argparse.Namespace, out: Path, *, shared: bool) -> Path:
    """Tune a cross-encoder to reorder what dense retrieval finds, so that its scores mean something.

    It says nothing of quality: it learns from few lists, for a few minutes. `frontier.py` is for that.
    """
    if not (out / "config.json").exists():
        split = leave_last_out(data.interactions)
        dense = {"encoder": args.encoder, "item_template": "item/title"}
        stage = {"name": "first", "keep": 20, "retrievers": {"popularity": {}, "dense": dense}}
        config = llmrec.Config.from_dict({"stages": [stage]})
        first = llmrec.fit(config, data.catalog, data.interactions, holdout="last")
        component = find_component("cross_encoder")
        settings = {
            "base": args.encoder,
            "residual": False,
            "cases": TUNING_CASES,
            "epochs": 1,
            "shared_history": shared,
        }
        settings |= {"max_tokens": args.pair_tokens, "item_tokens": ITEM_TOKENS}
        settings |= {"minutes": 6, "check_share": 0}  # whatever came of it is kept: what is compared must differ
        context = FitContext(
            "cross_encoder", data.catalog, split.train, split.validation, first_stage=first, work=out.parent
        )
        tuned = component.fit(context, component.config.model_validate(settings))
        out.mkdir(parents=True)
        for name, path in tuned.model.files().items():
            (out / name).write_bytes(path.read_bytes())
    return out


class Ours:
    """llmrec's side: the same models in a cascade of two stages.

    Attributes:
        encoder: in 8 bits, calibrated with the item texts; or in bfloat16.
        dense: exact search over the item vectors.
        scorer: the cross-encoder that reads a history once.
        whole: the other, the plain side's.
        recommender: dense > cross-encoder.
    """

    def __init__(self, task: Task, dtype: str, *, retrieved: int, reranked: int) -> None:
        loaded = TextEncoder.load(str(task.encoder), placement=Placement("cpu", dtype))
        self.encoder: TextEncoder = loaded.calibrated(task.texts)
        self.scorer = PairScorer.load(str(task.shared), max_tokens=task.pair_tokens)
        self.whole = PairScorer.load(str(task.cross_encoder), max_tokens=task.pair_tokens)
        catalog = task.data.catalog
        config = DenseConfig(item_template="item/title", index="exact")
        self.dense: Dense = fit_dense(catalog, config, self.encoder)
        cross = CrossEncoder("cross", self.scorer, load_template("pair/history"), ITEM_TOKENS, catalog)
        stages = (
            Stage("first", ((self.dense, retrieved),), (), _only("dense"), reranked),
            Stage("rerank", (), (cross,), _only("cross"), reranked),
        )
        popularity = fit_popularity(task.data.interactions, catalog)
        self.recommender = Recommender(catalog, stages, (Seen(),), popularity)

    def encode(self, texts: list[str]) -> NDArray[np.float32]:
        """Float32[n, dim], unit norm."""
        return self.encoder.encode_items(texts)

    def rerank(self, user: str, items: list[str]) -> NDArray[np.float32]:
        """Float32[n]: raw scores of pairs, the history read once."""
        return self.scorer.score([(user, item) for item in items])

    def rerank_whole(self, user: str, items: list[str]) -> NDArray[np.float32]:
        """Float32[n]: raw scores of pairs read whole, by the plain side's model."""
        return self.whole.score([(user, item) for item in items])

    def queries(self, history: list[int]) -> llmrec.Queries:
        """One query, its history to be left out."""
        ids = self.recommender.catalog.items
        return self.recommender.queries(histories=[[ids[item] for item in history]])

    def retrieve(self, history: list[int], k: int) -> list[int]:
        """The k nearest items without the history."""
        asked = Seen().prepare(self.queries(history))
        return [int(item) for item in self.dense.retrieve(asked, k).items[0]]

    def recommend(self, history: list[int], k: int) -> list[int]:
        """The k best."""
        return [int(item) for item in self.recommender.recommend(self.queries(history), k).items[0]]


def _only(column: str) -> ReciprocalRankFusion:
    """A fusion that keeps the order of one column."""
    return ReciprocalRankFusion(f"only_{column}", RrfConfig(), {column: 1.0})
