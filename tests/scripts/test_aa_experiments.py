"""The A/A script: its fast sums are those of the report, and few alarms are raised."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from llmrec.serve.experiments.moments import Moments

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(BENCH))
    try:
        yield importlib.import_module("aa_experiments")
    finally:
        sys.path.remove(str(BENCH))


def test_sums_after_every_list_are_those_of_the_report(script):
    rng = np.random.default_rng(0)
    who, tries, hits = rng.integers(0, 9, 60), rng.integers(0, 3, 60).astype(float), rng.integers(0, 3, 60)
    hits = np.minimum(hits, tries)
    counted = who % 2 == 0
    found = script.path(who, tries, hits, counted)
    for end in (1, 17, 60):
        x, y = (np.bincount(who[:end], part[:end] * counted[:end], minlength=9) for part in (tries, hits))
        expected = Moments.of(x[x > 0], y[x > 0])
        for name in Moments.__dataclass_fields__:
            assert getattr(found, name)[end - 1] == getattr(expected, name)


def test_few_false_alarms_and_real_effects_are_found(script):
    found = script.measure(runs=20, lists=6000, people=900, seed=3)
    for kind in ("returning", "once"):
        assert all(found[kind][name] <= 0.1 for name in ("comparison", "sample_ratio", "preference"))  # 2 of 20
    assert found["tiring"]["single_look"] + found["returning"]["single_look"] + found["once"]["single_look"] > 0.3
    assert found["power"]["sample_ratio_found"] >= 0.5
    assert found["power"]["once"]["clicks_found"] >= 0.7
    assert all(found["power"][kind]["interval_held"] >= 0.9 for kind in ("returning", "once"))
