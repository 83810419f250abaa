"""A search sees no test target, gives the same again, goes on after a kill, and survives what settings break."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest

import llmrec.tune.search as search_module
from llmrec.config import Config
from llmrec.data import Interactions, without_last
from llmrec.errors import ConfigError, DataError, MissingExtraError
from llmrec.evaluate import cases_of, judge
from llmrec.space import Choices, Range, Space
from llmrec.testing.data import tiny_catalog, tiny_interactions, tiny_users
from llmrec.tune import TuneOptions, tune

CONFIG = Config.from_dict({"stages": [{"name": "solo", "retrievers": {"popularity": {}, "ease": {"l2": 5.0}}}]})
SPACE = Space({"solo.ease.l2": Range(low=0.1, high=500, log=True), "solo.ease.decay": Range(low=0.2, high=1)})


@pytest.fixture(scope="module")
def shop():
    return tiny_catalog(30)


@pytest.fixture(scope="module")
def log(shop):
    return tiny_interactions(1, shop, n_users=40)


@pytest.fixture(scope="module")
def found(shop, log):
    return tune(CONFIG, SPACE, shop, log, options=TuneOptions(trials=14))


def plain(result):
    """All that is not a matter of time."""
    return [replace(one, seconds=0.0) for one in result.trials]


def seven(shop, log, **more):
    return tune(CONFIG, SPACE, shop, log, options=TuneOptions(**{"trials": 7, **more}))


def with_other_last_items(interactions, catalog):
    """The same log, but every evaluated user took something else in the end, and later."""
    rng = np.random.default_rng(0)
    table = {"user_id": [], "item_id": [], "timestamp": []}
    for user in range(interactions.n_users):
        start, end = interactions.offsets[user : user + 2]
        rows, times = interactions.items[start:end].copy(), interactions.times[start:end].copy()
        if end - start >= 3:
            rows[-1] = rng.choice(np.setdiff1d(np.arange(len(catalog)), rows))
            times[-1] += 1_000
        table["user_id"] += [interactions.users.ids[user]] * len(rows)
        table["item_id"] += catalog.items.decode(rows)
        table["timestamp"] += times.tolist()
    return Interactions.from_table(table, catalog)


def test_the_first_trial_is_the_pipeline_as_it_stands(found):
    assert found.trials[0].values == {"solo.ease.l2": 5.0, "solo.ease.decay": 0.8}
    assert [one.number for one in found.trials] == list(range(14))
    assert all(0.1 <= one.values["solo.ease.l2"] <= 500 for one in found.trials)


def test_the_best_is_the_best_and_its_pipeline_has_its_values(found):
    means = [one.metrics["NDCG@10"].mean for one in found.trials]
    assert len(set(means)) > 3
    assert found.best is found.trials[int(np.argmax(means))]
    ease = found.config.stages[0].retrievers["ease"]
    assert ease == {"l2": found.best.values["solo.ease.l2"], "decay": found.best.values["solo.ease.decay"]}
    assert found.ranked()[0] is found.best
    rows = found.rows()
    assert rows[0] == ["rank", "trial", "NDCG@10", "95% interval", "seconds", "solo.ease.l2", "solo.ease.decay"]
    assert [row[0] for row in rows[1:]] == [str(rank) for rank in range(1, 15)]
    short = found.rows(3)
    assert short[1:4] == rows[1:4]
    assert "0" in [row[1] for row in short[1:]]
    assert set(found.importance) == {"solo.ease.l2", "solo.ease.decay"}
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_figure_is_that_of_a_fit_on_the_log_without_its_end(found, shop, log):
    from llmrec.build import fit

    before = without_last(log)
    recommender = fit(found.config, shop, before, holdout="last")
    (report,) = judge(before, cases_of(recommender, before)).values()
    assert report.metrics["NDCG@10"] == found.best.metrics["NDCG@10"]
    assert found.card.n_users == report.card.n_users == int((np.diff(before.offsets) >= 3).sum())
    assert "put aside" in found.card.note


def test_no_test_target_is_ever_read(found, shop, log, tmp_path):
    changed = with_other_last_items(log, shop)
    assert (changed.items != log.items).sum() == log.n_users - 1
    again = tune(CONFIG, SPACE, shop, changed, options=TuneOptions(trials=14, work=tmp_path))
    assert plain(again) == plain(found)
    assert again.card.data_hash == found.card.data_hash
    # not even to tell one search from another: with the true log, it goes on where it was
    assert tune(CONFIG, SPACE, shop, log, options=TuneOptions(trials=14, work=tmp_path)).trials == again.trials


def test_what_is_before_the_end_does_matter(found, shop):
    other = tiny_interactions(2, shop, n_users=40)
    assert plain(tune(CONFIG, SPACE, shop, other, options=TuneOptions(trials=14))) != plain(found)


def test_the_same_search_gives_the_same_and_another_seed_another(found, shop, log):
    assert plain(seven(shop, log)) == plain(found)[:7]
    assert plain(seven(shop, log, seed=1))[1:] != plain(found)[1:7]


def test_a_search_goes_on_and_gives_what_it_would_have_given(found, shop, log, tmp_path, monkeypatch):
    seven(shop, log, trials=3, work=tmp_path)
    fits = []
    honest = search_module.fit
    monkeypatch.setattr(search_module, "fit", lambda *a, **k: fits.append(1) or honest(*a, **k))
    again = seven(shop, log, work=tmp_path)
    assert len(fits) == 4
    assert plain(again) == plain(found)[:7]
    assert seven(shop, log, trials=2, work=tmp_path).trials == again.trials  # there are enough: nothing is fitted
    assert len(fits) == 4


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_stopping_loses_the_running_trial_only(found, shop, log, tmp_path, monkeypatch, error):
    honest, calls = search_module.fit, []

    def stopped(*arguments, **options):
        calls.append(1)
        if len(calls) == 4:
            raise error
        return honest(*arguments, **options)

    monkeypatch.setattr(search_module, "fit", stopped)
    with pytest.raises(error):
        seven(shop, log, work=tmp_path)
    assert plain(seven(shop, log, work=tmp_path)) == plain(found)[:7]
    assert len(calls) == 3 + 1 + 4


KILLED = """
    import sys, time
    import llmrec.tune.search as search
    from llmrec.config import Config
    from llmrec.testing.data import tiny_catalog, tiny_interactions
    from llmrec.tune import Space, TuneOptions, tune
    from pathlib import Path

    honest, calls = search.fit, []

    def slow(*arguments, **options):
        calls.append(1)
        if len(calls) == 4:
            print("ready", flush=True)
            time.sleep(60)
        return honest(*arguments, **options)

    search.fit = slow
    catalog = tiny_catalog(30)
    config, space = Config.model_validate_json(sys.argv[2]), Space.model_validate_json(sys.argv[3])
    log = tiny_interactions(1, catalog, n_users=40)
    tune(config, space, catalog, log, options=TuneOptions(trials=7, work=Path(sys.argv[1])))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_a_kill_loses_the_running_trial_only(found, shop, log, tmp_path):
    words = [sys.executable, "-c", textwrap.dedent(KILLED), tmp_path, CONFIG.model_dump_json(), SPACE.model_dump_json()]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    with pytest.raises(ConfigError, match="another process is tuning"):
        seven(shop, log, work=tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    (tmp_path / "trials.journal.lock").touch()  # as if it had been killed while writing
    with (tmp_path / "trials.journal").open("a") as journal:
        journal.write('{"op_code": 4, "wor')
    assert plain(seven(shop, log, work=tmp_path)) == plain(found)[:7]


def test_the_journal_is_optunas(shop, log, tmp_path):
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    result = seven(shop, log, work=tmp_path)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "trials.journal")))
    study = optuna.load_study(study_name="llmrec", storage=storage)
    assert study.best_value == result.best.metrics["NDCG@10"].mean
    assert study.best_params == result.best.values


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"config": Config.from_dict({**CONFIG.model_dump(), "seed": 5})}, "pipeline.seed was 0 and is 5"),
        ({"space": Space({**SPACE.root, "solo.keep": Range(low=5, high=9)})}, "tune.solo.keep was null"),
        ({"options": TuneOptions(metric="Recall@10")}, 'metric was "NDCG@10" and is "Recall@10"'),
        ({"options": TuneOptions(users=20)}, "users was null and is 20"),
        ({"options": TuneOptions(seed=3)}, "seed was 0 and is 3"),
        ({"options": TuneOptions(holdout="time")}, "data.interactions was"),
        ({"users": tiny_users(40)}, "data.users was null"),
    ],
)
def test_a_folder_holds_one_search(shop, log, tmp_path, change, said):
    seven(shop, log, trials=1, work=tmp_path)
    asked = {"config": CONFIG, "space": SPACE, "users": None, "options": TuneOptions(), **change}
    options = replace(asked["options"], work=tmp_path)
    with pytest.raises(ConfigError, match="holds the trials of another search") as caught:
        tune(asked["config"], asked["space"], shop, log, users=asked["users"], options=options)
    assert said in str(caught.value)


def test_another_file_in_its_place_is_an_error(shop, log, tmp_path):
    (tmp_path / "trials.journal").write_text("hello\nhello\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        seven(shop, log, work=tmp_path)


def breaking(errors):
    """A fit that fails for some settings of EASE."""
    honest = search_module.fit

    def fit(config, *arguments, **options):
        l2 = config.stages[0].retrievers["ease"]["l2"]
        if error := errors(l2):
            raise error
        return honest(config, *arguments, **options)

    return fit


@pytest.mark.parametrize("error", [MemoryError("too large"), ConfigError("do not go together"), RuntimeError("CUDA")])
def test_failures_are_recorded_and_not_fatal(shop, log, monkeypatch, error):
    monkeypatch.setattr(search_module, "fit", breaking(lambda l2: error if l2 > 40 else None))
    said = []
    result = tune(CONFIG, SPACE, shop, log, options=TuneOptions(trials=12), progress=said.append)
    failed = [one for one in result.trials if one.error]
    assert failed
    assert len(failed) < 12
    assert all((one.values["solo.ease.l2"] > 40) == bool(one.error) for one in result.trials)
    assert all(str(error) in one.error and not one.metrics for one in failed)
    assert not result.best.error
    assert [row[2] for row in result.rows()][-len(failed) :] == ["failed"] * len(failed)
    assert f"trial {failed[0].number} failed: {failed[0].error}" in said


def test_all_failed_is_an_error_that_says_why(shop, log, monkeypatch):
    monkeypatch.setattr(search_module, "fit", breaking(lambda _l2: MemoryError("too large")))
    with pytest.raises(ConfigError, match="all 7 trials failed; the last one: MemoryError: too large"):
        seven(shop, log)


@pytest.mark.parametrize("error", [DataError("no rows"), MissingExtraError("x", "y"), OSError("disk full"), KeyError()])
def test_what_no_setting_mends_stops_the_search(shop, log, monkeypatch, error):
    monkeypatch.setattr(search_module, "fit", breaking(lambda _l2: error))
    with pytest.raises(type(error)):
        seven(shop, log)


def test_settings_that_go_together_one_by_one_only_are_recorded(shop, log):
    space = Space(
        {"solo.fusion.type": Choices(choices=("rrf", "lambdamart")), "solo.fusion.constant": Range(low=1, high=9)}
    )
    result = tune(CONFIG, space, shop, log, options=TuneOptions(trials=12))
    wrong = [one for one in result.trials if one.values["solo.fusion.type"] == "lambdamart"]
    assert wrong
    assert all("constant" in one.error for one in wrong)
    assert result.best.values["solo.fusion.type"] == "rrf"


def test_metric_users_and_split(shop, log):
    recall = seven(shop, log, metric="Recall@3", users=20)
    assert recall.metric == "Recall@3"
    assert set(recall.best.metrics) >= {"Recall@3", "NDCG@3"}
    assert (recall.card.n_users, "fixed random 20" in recall.card.note) == (20, True)
    timed = seven(shop, log, holdout="time")
    assert timed.card.holdout == "time"
    assert timed.card.n_interactions < len(log)


def test_a_trained_model_is_trained_once_for_its_settings(shop, log):
    small = {"items": "id", "dim": 8, "layers": 1, "heads": 1, "epochs": 2, "batch_size": 16, "max_length": 8}
    config = Config.from_dict({"stages": [{"name": "solo", "retrievers": {"popularity": {}, "sequence": small}}]})
    said = []
    space = Space({"solo.fusion.constant": Range(low=1, high=60)})
    tune(config, space, shop, log, options=TuneOptions(trials=3), progress=said.append)
    assert {line.split(":")[0] for line in said if "epoch" in line} == {"trial 0"}
    assert sum("fitted before" in line for line in said if "sequence" in line) == 2


def test_what_is_not_searched_is_fitted_once_and_nothing_else_is_kept(shop, log, tmp_path):
    said = []
    tune(CONFIG, SPACE, shop, log, options=TuneOptions(trials=3, work=tmp_path), progress=said.append)
    assert [line.split(":")[1].strip() for line in said if "fitted before" in line] == ["popularity"] * 2
    assert [path.name.split("-")[0] for path in (tmp_path / "models" / "fitted").iterdir()] == ["popularity"]


def test_profiles_reach_the_fit(shop, log, monkeypatch):
    seen, honest = [], search_module.fit
    monkeypatch.setattr(search_module, "fit", lambda *a, **k: seen.append(k["users"]) or honest(*a, **k))
    profiles = tiny_users(40)
    tune(CONFIG, SPACE, shop, log, users=profiles, options=TuneOptions(trials=2))
    assert seen == [profiles, profiles]


def test_time_is_a_budget_too(shop, log, tmp_path):
    first = tune(CONFIG, SPACE, shop, log, options=TuneOptions(trials=None, minutes=1e-6, work=tmp_path))
    assert len(first.trials) == 1  # one at least
    again = tune(CONFIG, SPACE, shop, log, options=TuneOptions(trials=None, minutes=0.01, work=tmp_path))
    assert len(again.trials) > 1
    assert again.trials[0] == first.trials[0]


def test_a_space_may_be_used_up(shop, log):
    said = []
    space = Space({"solo.ease.l2": Choices(choices=(1.0, 5.0, 25.0))})
    result = tune(CONFIG, space, shop, log, options=TuneOptions(trials=50), progress=said.append)
    assert sorted(one.values["solo.ease.l2"] for one in result.trials) == [1.0, 5.0, 25.0]
    assert said[-1] == "everything has been tried: 3 trials"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trials": None}, "say when to stop"),
        ({"trials": 0}, "above 0"),
        ({"minutes": 0}, "above 0"),
        ({"metric": "NDGC@10"}, "must be one of NDCG"),
        ({"metric": "NDCG"}, "with @K"),
        ({"metric": "NDCG@0"}, "with @K"),
        ({"users": 1}, "at least 2"),
        ({"holdout": "none"}, "'last', 'time'"),
        ({"holdout": "cold-items"}, "'last', 'time'"),
    ],
)
def test_wrong_options(options, said):
    with pytest.raises(ConfigError, match=said):
        TuneOptions(**options)


def test_a_missing_optuna_is_said_at_once(shop, log, monkeypatch):
    monkeypatch.setattr(search_module, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"llmrec\[tune\]"):
        seven(shop, log)
