"""The scripts of `scripts/bench` as modules, and tiny data for them."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from llmrec.testing.data import tiny_catalog

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"
MODULES = (
    "cross_encoder",
    "explain",
    "frontier",
    "growth",
    "injection",
    "language_model",
    "language_model_quality",
    "memorisation",
    "prompts_page",
    "quality",
    "sasrec",
    "throughput",
    "tune_peers",
    "_growth_data",
    "_growth_job",
    "_quality_cases",
    "_quality_job",
    "_quality_keys",
    "_quality_methods",
    "_quality_plots",
    "_quality_tables",
    "_rerank_folds",
)


@pytest.fixture(scope="session")
def bench():
    """The modules by name."""
    sys.path.insert(0, str(BENCH))
    try:
        yield {name: importlib.import_module(name) for name in MODULES}
    finally:
        sys.path.remove(str(BENCH))


@pytest.fixture
def data(tmp_path):
    """A data folder of 60 users with 3 to 14 of 15 items; times tie often."""
    folder = tmp_path / "data"
    folder.mkdir()
    catalog, rng = tiny_catalog(15), np.random.default_rng(0)
    table = {"user_id": [], "item_id": [], "timestamp": []}
    for user in range(60):
        items = rng.permutation(15)[: rng.integers(3, 15)]
        table["user_id"] += [f"u{user}"] * len(items)
        table["item_id"] += catalog.items.decode(items)
        table["timestamp"] += (100 * (user % 7) + np.sort(rng.integers(0, len(items), len(items)))).tolist()
    parquet.write_table(catalog.table, folder / "items.parquet")
    parquet.write_table(pa.table(table), folder / "interactions.parquet")
    return folder
