"""A fit in a folder of its own goes on where the last one was, and never takes what was fitted otherwise."""

from dataclasses import replace

import numpy as np
import pytest

from llmrec.build import fit
from llmrec.component import FitContext
from llmrec.config import Config, resolve
from llmrec.data import Holdout
from llmrec.errors import BundleError
from llmrec.kept import _outside as outside
from llmrec.kept import fit_key
from llmrec.testing.data import tiny_interactions
from llmrec.types import Csr, Queries

TEMPLATE = """
kind = "item"
version = 1
description = "A title."

[fields.title]
required = true
description = "The item's name."

[parts]
text = "called {{ title }}"
"""
RETRIEVERS = {"popularity": {}, "ease": {"l2": 5.0}, "item_knn": {"neighbours": 5}}


def config(retrievers=RETRIEVERS, **more):
    return Config.from_dict({"stages": [{"name": "hybrid", "retrievers": retrievers}], **more})


@pytest.fixture
def run(tmp_path, catalog, interactions):
    """Fit in the same folder again and again; returns the recommender and what was taken from the folder."""

    def run(which=None, items=catalog, log=interactions, **more):
        told = []
        fitted = fit(which or config(), items, log, work=tmp_path, progress=told.append, **more)
        return fitted, [text.split(":")[0] for text in told if "fitted before" in text]

    return run


@pytest.mark.parametrize(("holdout", "times"), [("last", 1), ("none", 2)])
def test_a_second_fit_takes_everything_from_the_folder_and_is_the_same(run, queries, holdout, times):
    first, taken = run(holdout=holdout)
    assert taken == []
    second, taken = run(holdout=holdout)
    assert taken == list(RETRIEVERS) * times
    one, other = (fitted.recommend(queries, 12) for fitted in (first, second))
    assert one.items.tolist() == other.items.tolist()
    assert one.scores.tobytes() == other.scores.tobytes()


def test_without_a_folder_nothing_is_kept(catalog, interactions, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit(config(), catalog, interactions)
    assert list(tmp_path.iterdir()) == []


def test_a_fit_that_was_killed_goes_on_behind_the_last_component(run, monkeypatch):
    import llmrec.kept

    written = llmrec.kept.write_bundle

    def killed(path, *rest):
        if path.name.startswith("item_knn"):
            raise KeyboardInterrupt
        return written(path, *rest)

    monkeypatch.setattr(llmrec.kept, "write_bundle", killed)
    with pytest.raises(KeyboardInterrupt):
        run(holdout="last")
    monkeypatch.setattr(llmrec.kept, "write_bundle", written)
    assert run(holdout="last")[1] == ["popularity", "ease"]


def test_what_another_pipeline_shares_is_taken(run):
    run(holdout="last")
    without = {name: table for name, table in RETRIEVERS.items() if name != "ease"}
    assert run(config(without), holdout="last")[1] == ["popularity", "item_knn"]


def test_other_settings_are_fitted_anew(run):
    run(holdout="last")
    other = {**RETRIEVERS, "ease": {"l2": 6.0}}
    assert run(config(other), holdout="last")[1] == ["popularity", "item_knn"]


def test_another_number_format_is_fitted_anew(run, monkeypatch):
    run()
    monkeypatch.setenv("LLMREC_DTYPE", "bfloat16")
    assert run()[1] == []


def test_another_type_under_the_same_name_is_fitted_anew(run):
    run(holdout="last")
    other = {**RETRIEVERS, "ease": {"type": "popularity"}}
    assert run(config(other), holdout="last")[1] == ["popularity", "item_knn"]


def test_another_log_seed_catalog_or_holdout_takes_nothing(run, catalog, interactions):
    run(holdout="last")
    assert run(log=tiny_interactions(7, catalog), holdout="last")[1] == []
    assert run(config(seed=3), holdout="last")[1] == []
    assert run(items=catalog.without_items(catalog.items.ids[:1]), holdout="last")[1] == []
    assert run()[1] == []


def test_other_cases_to_tune_on_take_nothing(run):
    """Without the policy, the cases no longer say that the history is left out: an early stop may come elsewhere."""
    run(holdout="last")
    assert run(config(policies={}), holdout="last")[1] == []


def test_a_refit_is_that_of_what_it_follows(catalog, interactions):
    """How long to train was tuned by the fit before, so two refits on the same log may differ."""
    settings = resolve("ease", {}, "retriever", "hybrid")
    context = FitContext("ease", catalog, interactions)
    keys = {fit_key(settings, context, about) for about in ("", "one", "other")}
    assert len(keys) == 3
    assert fit_key(settings, context, "one") in keys


def test_a_damaged_one_is_fitted_again(run, tmp_path):
    run(holdout="last")
    ease = next((tmp_path / "fitted").glob("ease-*"))
    (ease / "parts" / "ease" / "arrays.safetensors").write_bytes(b"?")
    assert run(holdout="last")[1] == ["popularity", "item_knn"]
    assert run(holdout="last")[1] == list(RETRIEVERS)


@pytest.mark.parametrize("left", ["manifest.json", "parts/ease/config.json"])
def test_what_a_kill_left_half_removed_is_fitted_again(run, tmp_path, left):
    run(holdout="last")
    (next((tmp_path / "fitted").glob("ease-*")) / left).unlink()
    assert run(holdout="last")[1] == ["popularity", "item_knn"]
    assert run(holdout="last")[1] == list(RETRIEVERS)


def test_a_folder_that_cannot_be_written_costs_no_fit(run, tmp_path):
    (tmp_path / "fitted").write_text("a file", encoding="utf-8")
    assert run(holdout="last")[1] == []


def test_no_work_in_a_bundle(run, catalog, interactions, tmp_path):
    """What training writes there would make it a bundle that does not open."""
    bundle = run(holdout="last")[0].save(tmp_path / "bundle")
    before = sorted(bundle.rglob("*"))
    for folder in (bundle, bundle / "work"):
        with pytest.raises(BundleError, match="lies inside another bundle"):
            fit(config(), catalog, interactions, work=folder)
    assert sorted(bundle.rglob("*")) == before


def test_a_later_stage_is_fitted_again(catalog, interactions, tmp_path):
    told = []
    stages = [{"name": "first", "retrievers": {"popularity": {}}}, {"name": "second", "retrievers": {"ease": {}}}]
    for _ in range(2):
        fit(Config.from_dict({"stages": stages}), catalog, interactions, work=tmp_path, progress=told.append)
    assert {text.split(":")[0] for text in told if "fitted before" in text} == {"popularity"}


def test_a_template_that_was_edited_is_read_again(run, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TEMPLATE, encoding="utf-8")
    text = config({"popularity": {}, "bm25": {"item_template": str(path)}})
    run(text, holdout="last")
    assert run(text, holdout="last")[1] == ["popularity", "bm25"]
    path.write_text(TEMPLATE.replace("called", "named"), encoding="utf-8")
    assert run(text, holdout="last")[1] == ["popularity"]


def test_a_folder_that_changes_is_another_one(tmp_path):
    (tmp_path / "model").mkdir()
    weights = tmp_path / "model" / "weights"
    weights.write_bytes(b"1")
    before = outside(str(tmp_path / "model"))
    weights.write_bytes(b"22")
    assert outside(str(tmp_path / "model")) != before
    assert outside("item/no-such-file") is None
    assert outside("") is None
    assert outside("~nobody-of-this-name/x") is None
    assert outside("long " * 300) is None
    assert outside("a\0b") is None


def test_cases_differ_by_whatever_is_asked():
    queries = Queries.from_lists([[0, 1], [2]])
    others = [
        queries,
        Queries.from_lists([[0], [1, 2]]),
        replace(queries, exclude=queries.histories),
        replace(queries, exclude=Csr.from_lists([[1], [0, 2]])),
        replace(queries, texts=["red", None]),
        replace(queries, profiles={"age": [1, 2]}),
        replace(queries, profiles={"age": np.arange(2)}),
        replace(queries, at=np.array([1, 2])),
    ]
    assert len({one.fingerprint for one in others}) == len(others)
    assert queries.take([0, 1]).fingerprint == queries.fingerprint
    rows = queries.offsets[:2].astype("int64")
    cases = [Holdout(rows, queries, rows.astype("int32")), Holdout(rows, queries, rows[::-1].astype("int32"))]
    assert cases[0].fingerprint != cases[1].fingerprint
