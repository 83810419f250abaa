"""Experiments: which of two or more pipelines people do better with, told so that looking early does no harm.

People are given a variant by a hash of their id, and keep it (`assign`). What became of their lists is compared by
person, with intervals that hold at every moment at once (`sequential`); shares of people that are off are found
(`sample_ratio`), and two pipelines may also share each list (`interleave`). `analysis` makes the report.
"""

from __future__ import annotations

from llmrec.serve.experiments.analysis import analyse
from llmrec.serve.experiments.assign import place, variant_of
from llmrec.serve.experiments.experiment import Assignment, Experiment
from llmrec.serve.experiments.experiments import Experiments, ExperimentStore
from llmrec.serve.experiments.interleave import team_draft
from llmrec.serve.experiments.report import Comparison, Report, SampleRatio, VariantReport

__all__ = [
    "Assignment",
    "Comparison",
    "Experiment",
    "ExperimentStore",
    "Experiments",
    "Report",
    "SampleRatio",
    "VariantReport",
    "analyse",
    "place",
    "team_draft",
    "variant_of",
]
