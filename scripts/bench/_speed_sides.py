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
        pair_tokens: tokens of a pair that it reads.
    """

    data: Dataset
    texts: list[str]
    cases: Holdout
    histories: list[list[int]]
    encoder: Path
    cross_encoder: Path
    pair_tokens: int


def read_task(args: argparse.Namespace) -> Task:
    """Load the data and find the models; a cross-encoder that is not given is tuned for some minutes, once."""
    found = llmrec.load_dataset(args.data or args.name)
    split = leave_last_out(found.interactions)
    texts = list(render_items(load_template("item/title"), found.catalog))
    long = np.flatnonzero(np.diff(split.validation.queries.offsets) >= HISTORY)
    order = np.random.default_rng(0).permutation(long)
    known = split.validation.queries
    histories = [known.items[known.offsets[row] : known.offsets[row + 1]][-HISTORY:].tolist() for row in order]
    cross = args.cross_encoder or tuned_cross_encoder(found, args.encoder, args.work / "cross-encoder")
    return Task(found, texts, split.validation, histories, find_asset(args.encoder), cross, args.pair_tokens)


def tuned_cross_encoder(data: Dataset, encoder: str, out: Path) -> Path:
    """Tune a cross-encoder to reorder what dense retrieval finds, so that its scores mean something.

    It says nothing of quality: it learns from few lists, for a few minutes.
    """
    if not (out / "config.json").exists():
        split = leave_last_out(data.interactions)
        dense = {"encoder": encoder, "item_template": "item/title"}
        stage = {"name": "first", "keep": 20, "retrievers": {"popularity": {}, "dense": dense}}
        config = llmrec.Config.from_dict({"stages": [stage]})
        first = llmrec.fit(config, data.catalog, data.interactions, holdout="last")
        component = find_component("cross_encoder")
        settings = {"base": encoder, "residual": False, "cases": TUNING_CASES, "epochs": 1}
        settings |= {"minutes": 6, "check_share": 0}  # whatever came of it is kept: what is compared must differ
        context = FitContext(
            "cross_encoder", data.catalog, split.train, split.validation, first_stage=first, work=out.parent
        )
        tuned = component.fit(context, component.config.model_validate(settings))
        out.mkdir(parents=True)
        for name, path in tuned.model.files().items():
            (out / name).write_bytes(path.read_bytes())
        limits = out / "tokenizer_config.json"  # it was tuned on short pairs; its positions reach further
        limits.write_text(
            limits.read_text(encoding="utf-8").replace('"model_max_length": 48', '"model_max_length": 512')
        )
    return out


class Ours:
    """llmrec's side: the same models in a cascade of two stages.

    Attributes:
        encoder: in 8 bits, calibrated with the item texts; or in bfloat16.
        dense: exact search over the item vectors.
        scorer: the cross-encoder.
        recommender: dense > cross-encoder.
    """

    def __init__(self, task: Task, dtype: str, *, retrieved: int, reranked: int) -> None:
        loaded = TextEncoder.load(str(task.encoder), placement=Placement("cpu", dtype))
        self.encoder: TextEncoder = loaded.calibrated(task.texts)
        self.scorer = PairScorer.load(str(task.cross_encoder), max_tokens=task.pair_tokens)
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
        """Float32[n]: raw scores of pairs."""
        rows = np.arange(len(items))
        return self.scorer.score_rows([user], items, np.zeros_like(rows), rows)

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
