"""Judge any recommender: metrics, full ranking, intervals over users, protocol cards, tables."""

from __future__ import annotations

from llmrec.evaluate.benchmark import Benchmark, Trial, Wanted, benchmark_of, benchmark_on
from llmrec.evaluate.cases import Case, cases_of, judge, parts, sample_cases
from llmrec.evaluate.ceiling import CandidateRecall, candidate_recall, ceiling_rows
from llmrec.evaluate.comparison import Comparison, comparisons
from llmrec.evaluate.evaluation import Evaluation, cutoffs_of, evaluation_markdown, main_cutoff, put_together
from llmrec.evaluate.lists import FieldDiversity, ListMetric, Miscalibration, VectorDiversity, categories_of
from llmrec.evaluate.metrics import (
    ACCURACY,
    Float64Array,
    Metric,
    accuracy,
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
from llmrec.evaluate.peers import read_lists, repeats_history
from llmrec.evaluate.protocol import ProtocolCard, leave_last_out_card, split_card
from llmrec.evaluate.report import Report, compare_pairs
from llmrec.evaluate.runner import Recommends, evaluate, evaluate_lists, rank_targets, rank_values
from llmrec.evaluate.significance import Interval, PairedResult, bootstrap_interval, holm, paired_test
from llmrec.evaluate.storage import (
    check_report_place,
    evaluations_to_dict,
    is_report,
    load_evaluations,
    write_evaluations,
)
from llmrec.evaluate.strata import Stratum, add_strata, history_strata, popularity_strata, stratify
from llmrec.evaluate.tables import all_metrics, compare, comparison_rows, differences, strata_rows, to_markdown
from llmrec.evaluate.unseen import check_honest, check_unseen

__all__ = [
    "ACCURACY",
    "Benchmark",
    "CandidateRecall",
    "Case",
    "Comparison",
    "Evaluation",
    "FieldDiversity",
    "Float64Array",
    "Interval",
    "ListMetric",
    "Metric",
    "Miscalibration",
    "PairedResult",
    "ProtocolCard",
    "Recommends",
    "Report",
    "Stratum",
    "Trial",
    "VectorDiversity",
    "Wanted",
    "accuracy",
    "add_strata",
    "all_metrics",
    "average_precision",
    "benchmark_of",
    "benchmark_on",
    "bootstrap_interval",
    "candidate_recall",
    "cases_of",
    "categories_of",
    "ceiling_rows",
    "check_honest",
    "check_report_place",
    "check_unseen",
    "compare",
    "compare_pairs",
    "comparison_rows",
    "comparisons",
    "coverage",
    "cutoffs_of",
    "differences",
    "evaluate",
    "evaluate_lists",
    "evaluation_markdown",
    "evaluations_to_dict",
    "exposure",
    "f1",
    "find_hits",
    "gini",
    "history_strata",
    "hit_rate",
    "holm",
    "is_report",
    "judge",
    "leave_last_out_card",
    "load_evaluations",
    "main_cutoff",
    "ndcg",
    "novelty",
    "paired_test",
    "parts",
    "popularity_strata",
    "precision",
    "put_together",
    "rank_targets",
    "rank_values",
    "read_lists",
    "recall",
    "reciprocal_rank",
    "repeats_history",
    "sample_cases",
    "split_card",
    "strata_rows",
    "stratify",
    "to_markdown",
    "write_evaluations",
]
