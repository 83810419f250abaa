"""LambdaMART: trees that have learned from validation cases how to rank candidates; weighted RRF where they cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from llmrec.component import ComponentConfig
from llmrec.data import Catalog
from llmrec.fuse._boosting import score_all
from llmrec.fuse._library import LoadedTrees
from llmrec.fuse.base import column_ranks
from llmrec.fuse.features import Features
from llmrec.fuse.lift import Lift
from llmrec.fuse.rrf import ReciprocalRankFusion, RrfConfig
from llmrec.models import in_threads
from llmrec.retrieve.reading import thread_blocks
from llmrec.types import BoolArray, Candidates, Float32Array, Int64Array, Queries, State

__all__ = ["LambdaMart", "LambdaMartConfig", "NewItems", "Trees", "load_lambdamart", "place", "place_unjudged"]


class LambdaMartConfig(ComponentConfig):
    """Settings of LambdaMART.

    Attributes:
        rrf: settings of the weighted reciprocal rank fusion that stands in where the trees have nothing to say.
        folds: users are split into so many parts; what is fitted on all others is judged on each.
        max_trees: at most so many; how many is found by cross-validation.
        objective: what trees are grown for: "xendcg", a cross-entropy that bounds NDCG (Bruch, "An Alternative Cross
            Entropy Loss for Learning-to-Rank", WWW 2021), or "lambdarank".
        learning_rate: what each tree counts.
        leaves: of each tree, at most.
        min_leaf: candidates in a leaf, at least.
        depth: the trees learn from, and judge, each query's best so many candidates by weighted RRF.
        min_cases: with fewer cases whose target is among these, the trees are not tried.
        caution: the trees must be better than weighted RRF, and than the best column, by so many standard errors of
            the gain in NDCG@10.
        evidence: the trees judge a candidate without evidence in a column if at least this share of the targets had
            none there either; otherwise the candidate keeps the place that weighted RRF gives it.
        new_depth: of the new items, the trees judge each query's best so many by weighted RRF; what they may cost is
            `rrf.new_item_cost`.
    """

    rrf: RrfConfig = Field(default_factory=RrfConfig)
    folds: int = Field(default=5, ge=2)
    max_trees: int = Field(default=200, gt=0)
    objective: Literal["xendcg", "lambdarank"] = "xendcg"
    learning_rate: float = Field(default=0.05, gt=0, le=1)
    leaves: int = Field(default=15, ge=2)
    min_leaf: int = Field(default=100, ge=1)
    depth: int = Field(default=100, ge=10)
    min_cases: int = Field(default=200, ge=2)
    caution: float = Field(default=2.0, ge=0)
    evidence: float = Field(default=0.02, ge=0, le=1)
    new_depth: int = Field(default=50, ge=1)


@dataclass(frozen=True, slots=True)
class NewItems:
    """What the trees have learned of new items.

    Attributes:
        always: score columns that (nearly) every new target had evidence in.
        lift: added to the scores of new items; it is what makes as many as may cost what they cost rise.
    """

    always: tuple[str, ...]
    lift: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """A LightGBM model over features.

    Attributes:
        features: what it looks at.
        text: the model as LightGBM writes it.
        booster: the same, ready to score.
        always: score columns that (nearly) every target had evidence in: without it, a candidate cannot be judged.
        unused: score columns that no tree looks at.
        new: what was learned of new items; None: nothing, they keep the place that weighted RRF gives them.
    """

    features: Features
    text: str
    booster: Any
    always: tuple[str, ...]
    unused: tuple[str, ...] = ()
    new: NewItems | None = None

    def judges(
        self, queries: Queries, candidates: Candidates, fused: Float32Array, config: LambdaMartConfig
    ) -> BoolArray:
        """Bool[n, k]: True for the first candidates of weighted RRF where the trees have learned from their like."""
        known = self.features.is_known(candidates.items)
        judged = _first(fused, known, config.depth) & _has_all(candidates, self.always)
        if self.new is not None:
            new = (candidates.items >= 0) & ~known
            judged |= _first(fused, new, config.new_depth) & _has_all(candidates, self.new.always)
        return judged & ~queries.wishes[:, None]

    def score(self, queries: Queries, candidates: Candidates, fused: Float32Array, judged: BoolArray) -> Float32Array:
        """Return Float32[n, k]; 0 where nothing is to be judged."""
        scores = np.zeros(candidates.items.shape, dtype=np.float32)
        for rows, matrix in self.features.matrices(queries, candidates, fused, judged):
            if len(matrix):
                block = scores[rows]
                block[judged[rows]] = score_all(self.booster, matrix)
                scores[rows] = block
        if self.new is None:
            return scores
        new = judged & ~self.features.is_known(candidates.items)
        return np.where(new, scores + np.float32(self.new.lift), scores)


@dataclass(frozen=True, slots=True, eq=False)
class LambdaMart:
    """Ranks candidates by trees learned with LambdaMART, and by weighted RRF where the trees have not learned anything.

    Burges, "From RankNet to LambdaRank to LambdaMART: An Overview", Microsoft Research TR-2010-82; by LightGBM (Ke et
    al., NeurIPS 2017). Three rules stand beside the trees. A candidate that they cannot judge keeps the place that
    weighted RRF gives it: any candidate of a new user; a new item, unless the trees have learned from simulated ones
    (see `llmrec.component.Simulated`). A query with a free-text wish is answered by weighted RRF. A candidate that is
    strictly first in every column is first.

    Attributes:
        name: the fusion's name in this pipeline.
        config: its settings.
        rrf: weighted reciprocal rank fusion, tuned on the same cases.
        trees: what was learned; None: weighted RRF is all there is.
        report: how it was fitted: cases, NDCG@10 of each way out of fold, why it falls back, gain by feature; JSON.
    """

    component: ClassVar[str] = "lambdamart"
    name: str
    config: LambdaMartConfig
    rrf: ReciprocalRankFusion
    trees: Trees | None
    report: Mapping[str, Any]

    @property
    def fallback(self) -> bool:
        """Whether weighted RRF is all there is."""
        return self.trees is None

    @property
    def summary(self) -> str:
        """What it is and what it was measured at, in a line."""
        found = self.report.get("NDCG@10", {})
        ways = sorted(found, key=lambda name: (name != "trees", name != "rrf"))
        measured = f" (NDCG@10 out of fold: {', '.join(f'{n} {found[n]:.4f}' for n in ways)})" if found else ""
        if self.trees is None:
            return f"weighted RRF alone: {self.report.get('fallback')}{measured}"
        gains = ", ".join(f"{name} {share:.0%}" for name, share in self.report.get("gain", [])[:8])
        return f"{self.report.get('trees')} trees{measured}; gain: {gains}"

    def fuse(self, queries: Queries, candidates: Candidates) -> Float32Array:
        """Return Float32[n, k]: the fused scores, finite everywhere; comparable within a query."""
        fused = self.rrf.fuse(queries, candidates)
        if self.trees is None:
            return fused
        judged = self.trees.judges(queries, candidates, fused, self.config)
        some, trees = np.flatnonzero(judged.any(axis=1)), self.trees

        def judge(places: Int64Array) -> None:
            rows = some[places]
            fused[rows] = _judged(trees, queries.take(rows), candidates.take(rows), fused[rows], judged[rows])

        in_threads(judge, thread_blocks(len(some), candidates.items.shape[1] * len(trees.features.names)))
        return fused

    def ignores(self, queries: Queries, candidates: Candidates) -> frozenset[str]:
        """Name the columns that weighted RRF ignores and no tree looks at."""
        ignored = self.rrf.ignores(queries, candidates)
        return ignored if self.trees is None else ignored & frozenset(self.trees.unused)

    def forgetting(self, items: BoolArray) -> Self:
        """Return the same fusion without what it knows of some items: how often and since when they were taken."""
        trees = self.trees
        return self if trees is None else replace(self, trees=replace(trees, features=trees.features.forgetting(items)))

    def state(self) -> State:
        """Return the model as text, what features are made of, and the settings."""
        config: dict[str, Any] = {
            "settings": self.config.model_dump(mode="json"),
            "weights": dict(self.rrf.weights),
            "wish_columns": list(self.rrf.wish_columns),
            "lift": self.rrf.state().config["lift"],
            "report": dict(self.report),
            "summary": self.summary,
        }
        if self.trees is None:
            return State(config)
        names, arrays = self.trees.features.state()
        config |= {**names, "always": list(self.trees.always), "unused": list(self.trees.unused)}
        config["new"] = None if self.trees.new is None else asdict(self.trees.new)
        return State(config, {**arrays, "trees": np.frombuffer(self.trees.text.encode(), dtype=np.uint8)})


def load_lambdamart(name: str, state: State, catalog: Catalog) -> LambdaMart:
    """Bring a fusion back.

    Raises:
        MissingExtraError: it has trees, and LightGBM is not installed.
    """
    saved = state.config
    config = LambdaMartConfig.model_validate(saved["settings"])
    lift = Lift.from_dict(saved.get("lift"))
    rrf = ReciprocalRankFusion(name, config.rrf, saved["weights"], tuple(saved["wish_columns"]), lift)
    trees = None
    if "trees" in state.arrays:
        text = np.asarray(state.arrays["trees"], dtype=np.uint8).tobytes().decode()
        features = Features.from_state(saved, state.arrays)
        new = saved.get("new")
        new = None if new is None else NewItems(tuple(new["always"]), new["lift"])
        trees = Trees(features, text, LoadedTrees(text), tuple(saved["always"]), tuple(saved["unused"]), new)
    return LambdaMart(name, config, rrf, trees, saved["report"])


def place(
    fused: Float32Array, scores: Float32Array, judged: BoolArray, known: BoolArray, there: BoolArray
) -> Float32Array:
    """Put all candidates in one order: known ones that are judged, new ones among them, and those not judged.

    A new item goes in where its score puts it, if that is above any known item that is judged; the others move down by
    one place. Otherwise it counts as one that is not judged: beyond the known items that the trees have looked at,
    nothing says that it is better than those they have not.

    Args:
        fused: Float32[n, k], scores of weighted RRF, >= 0.
        scores: Float32[n, k], of the trees.
        judged: Bool[n, k], where the trees count.
        known: Bool[n, k], False for new items.
        there: Bool[n, k], False at pads.

    Returns:
        Float32[n, k]. Where no known candidate is judged, new ones are put in order among themselves.
    """
    settled = judged & (known | ~(judged & known).any(axis=1, keepdims=True))
    lowest = np.min(scores, axis=1, keepdims=True, initial=np.inf, where=settled)
    risen = judged & ~settled & (scores > lowest)
    placed = fused.copy()
    some = settled.any(axis=1)
    placed[some] = place_unjudged(fused[some], scores[some], settled[some], (there & ~risen)[some])
    return np.where(risen, scores + np.float32(1e-4) * _share(fused), placed).astype(np.float32)


def place_unjudged(fused: Float32Array, scores: Float32Array, judged: BoolArray, there: BoolArray) -> Float32Array:
    """Give candidates that the trees cannot judge a score between those that weighted RRF puts it between.

    Args:
        fused: Float32[n, k], scores of weighted RRF, >= 0.
        scores: Float32[n, k], of the trees.
        judged: Bool[n, k], where the trees count; at least one a row.
        there: Bool[n, k], False at pads.

    Returns:
        Float32[n, k]; what the trees give the same score is ordered by weighted RRF.
    """
    share = _share(fused)
    trees = scores + np.float32(1e-4) * share
    ordered = -np.sort(-np.where(judged, trees, -np.inf), axis=1)
    count = judged.sum(axis=1, keepdims=True)
    others = there & ~judged
    # how many judged candidates weighted RRF puts above: all that are above, less those that are not judged
    ranks = column_ranks(np.where(there, fused, np.float32(np.nan)))
    above = np.where(others, ranks - column_ranks(np.where(others, fused, np.float32(np.nan))), 0)
    low = np.take_along_axis(ordered, np.minimum(above, count - 1), axis=1)
    high = np.take_along_axis(ordered, np.maximum(above - 1, 0), axis=1)
    low, high = np.where(above < count, low, high - 1), np.where(above > 0, high, low + 1)
    between = low + (high - low) * (np.float32(0.01) + np.float32(0.98) * share)
    placed: Float32Array = np.where(judged, trees, np.where(others, between, 0)).astype(np.float32)
    return placed


def _judged(
    trees: Trees, queries: Queries, candidates: Candidates, fused: Float32Array, judged: BoolArray
) -> Float32Array:
    """Float32[n, k]: what stands for the candidates of queries of which the trees judge at least one each."""
    scores = trees.score(queries, candidates, fused, judged)
    there = candidates.items >= 0
    scores = place(fused, scores, judged, trees.features.is_known(candidates.items), there)
    first = _first_in_all(candidates, trees.features.columns)
    best = np.max(scores, axis=1, keepdims=True, initial=-np.inf, where=there)
    return np.where(first, best + 1, scores)


def _share(fused: Float32Array) -> Float32Array:
    """Float32[n, k]: the scores of weighted RRF as a share of the row's best."""
    return np.asarray(fused / np.maximum(fused.max(axis=1, keepdims=True, initial=0), np.float32(1e-30)))


def _first(fused: Float32Array, among: BoolArray, count: int) -> BoolArray:
    """Bool[n, k]: the first of some candidates by weighted RRF."""
    ranks = column_ranks(np.where(among, fused, np.float32(np.nan)))
    return np.asarray((ranks > 0) & (ranks <= count))


def _has_all(candidates: Candidates, names: tuple[str, ...]) -> BoolArray:
    """Bool[n, k]: True with evidence in all of these columns."""
    found = np.ones(candidates.items.shape, dtype=np.bool_)
    for name in names:
        column = candidates.columns.get(name)
        found &= ~np.isnan(column) if column is not None else np.False_
    return found


def _first_in_all(candidates: Candidates, names: tuple[str, ...]) -> BoolArray:
    """Bool[n, k]: True for a candidate that is strictly first in every column."""
    first = candidates.items >= 0
    for name in names:
        column = candidates.columns.get(name)
        if column is None:
            continue
        best = np.max(column, axis=1, keepdims=True, initial=-np.inf, where=~np.isnan(column))
        at_best = column == best
        first = first & at_best & (at_best.sum(axis=1, keepdims=True) == 1)
    return first
