"""Judge any recommender: metrics, full ranking, intervals over users, protocol cards, tables."""

from __future__ import annotations

from llmrec.evaluate.cases import Case, check_unseen, judge, parts, sample_cases
from llmrec.evaluate.metrics import (
    ACCURACY,
    Float64Array,
    Metric,
    average_precision,
    coverage,
    exposure,
    f1,
    find_hits,
    gini,
    hit_rate,
    ndcg,
    novelty,
    precision,
    recall,
    reciprocal_rank,
)
from llmrec.evaluate.protocol import ProtocolCard, leave_last_out_card
from llmrec.evaluate.report import Report, compare, compare_pairs, differences, to_markdown
from llmrec.evaluate.runner import Recommends, evaluate, rank_targets, rank_values
from llmrec.evaluate.significance import Interval, PairedResult, bootstrap_interval, paired_test
from llmrec.evaluate.strata import Stratum, history_strata, popularity_strata, stratify

__all__ = [
    "ACCURACY",
    "Case",
    "Float64Array",
    "Interval",
    "Metric",
    "PairedResult",
    "ProtocolCard",
    "Recommends",
    "Report",
    "Stratum",
    "average_precision",
    "bootstrap_interval",
    "check_unseen",
    "compare",
    "compare_pairs",
    "coverage",
    "differences",
    "evaluate",
    "exposure",
    "f1",
    "find_hits",
    "gini",
    "history_strata",
    "hit_rate",
    "judge",
    "leave_last_out_card",
    "ndcg",
    "novelty",
    "paired_test",
    "parts",
    "popularity_strata",
    "precision",
    "rank_targets",
    "rank_values",
    "recall",
    "reciprocal_rank",
    "sample_cases",
    "stratify",
    "to_markdown",
]
