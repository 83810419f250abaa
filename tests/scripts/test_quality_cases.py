"""What quality.py asks of whom, and by what it keeps results."""

import numpy as np
import pytest

import llmrec
from llmrec.build import _some as some
from llmrec.data import hold_out_items, hold_out_users, leave_last_out, without_last
from llmrec.errors import DataError
from llmrec.testing.data import tiny_interactions


@pytest.fixture
def log(data):
    return llmrec.load_dataset(data).interactions


def histories(holdout):
    """The history of each case as a list, by user row."""
    bounds = zip(holdout.queries.offsets[:-1], holdout.queries.offsets[1:], strict=True)
    items = [holdout.queries.items[start:stop].tolist() for start, stop in bounds]
    return dict(zip(holdout.user_rows.tolist(), items, strict=True))


def test_ties_change_places_and_nothing_else_does(bench, log):
    moved = bench["_quality_cases"].shuffled_ties(log, 0)
    again = bench["_quality_cases"].shuffled_ties(log, 0)
    assert moved.items.tolist() == again.items.tolist() != log.items.tolist()
    assert moved.times.tolist() == log.times.tolist()
    for start, stop in zip(log.offsets[:-1], log.offsets[1:], strict=True):
        before = sorted(zip(log.times[start:stop], log.items[start:stop], strict=True))
        assert before == sorted(zip(moved.times[start:stop], moved.items[start:stop], strict=True))
    with pytest.raises(DataError, match="no times"):
        bench["_quality_cases"].shuffled_ties(tiny_interactions(timed=False), 0)


def test_the_log_of_each_protocol(bench, log):
    log_for = bench["_quality_cases"].log_for
    aside = without_last(log)
    assert log_for(log, "test", "last").fingerprint == log.fingerprint
    assert log_for(log, "validation", "time").fingerprint == aside.fingerprint
    shuffled = log_for(log, "validation", "ties")
    assert shuffled.fingerprint != aside.fingerprint
    known = set(zip(*pairs(aside), strict=True))
    assert set(zip(*pairs(shuffled), strict=True)) == known  # what is put aside is not shuffled in again


def pairs(log):
    return np.repeat(np.arange(log.n_users), np.diff(log.offsets)).tolist(), log.items.tolist()


def test_warm_targets_are_the_other_cases_without_cold_items(bench, data, log):
    items = llmrec.load_dataset(data).catalog.items
    split, last = hold_out_items(log, items), leave_last_out(log).test
    trial = bench["_quality_cases"].warm_targets(log, items, 3)
    cold = set(np.flatnonzero(split.cold).tolist())
    assert cold
    asked = set(trial.holdout.user_rows.tolist())
    assert asked == set(last.user_rows[[t not in cold for t in last.targets.tolist()]].tolist())
    assert asked.isdisjoint(split.test.user_rows.tolist())
    targets = dict(zip(last.user_rows.tolist(), last.targets.tolist(), strict=True))
    for user, history in histories(trial.holdout).items():
        assert history == [item for item in histories(last)[user] if item not in cold]
    assert trial.holdout.targets.tolist() == [targets[user] for user in trial.holdout.user_rows.tolist()]
    assert trial.holdout.queries.at.tolist() == [
        at for user, at in zip(last.user_rows, last.queries.at, strict=True) if user in asked
    ]
    assert trial.card.n_users == len(asked)
    assert (trial.card.holdout, f"{len(cold)} cold items" in trial.card.split) == ("", True)


def test_other_users_are_those_that_nothing_was_tuned_on(bench, log):
    cases = leave_last_out(log).validation
    trial = bench["_quality_cases"].other_users(log, 3, 7, 1)
    asked, tuned = set(trial.holdout.user_rows.tolist()), set(some(cases, 7, 1).user_rows.tolist())
    assert len(tuned) == 7
    assert asked.isdisjoint(tuned)
    assert asked | tuned == set(cases.user_rows.tolist())
    last = dict(zip(cases.user_rows.tolist(), cases.targets.tolist(), strict=True))
    assert trial.holdout.targets.tolist() == [last[user] for user in trial.holdout.user_rows.tolist()]
    assert histories(trial.holdout) == {user: histories(cases)[user] for user in asked}
    assert (trial.card.n_users, trial.card.holdout) == (len(asked), "")
    with pytest.raises(DataError, match="run with --validation"):
        bench["_quality_cases"].other_users(log, 3, len(cases), 0)


def test_how_many_users_something_is_tuned_on(bench):
    tuned = bench["_quality_cases"].tuned_users
    stage = {"retrievers": {"popularity": {}, "tuned_dense": {"check_users": 7_000}}}
    assert tuned({"stages": [{"retrievers": {"popularity": {}}}]}) == 5_000
    assert tuned({"stages": [stage]}) == 7_000
    assert tuned({"stages": [stage | {"tuning_users": 20_000}]}) == 20_000
    with pytest.raises(DataError, match="scorer"):
        tuned({"stages": [stage | {"scorers": {"cross_encoder": {}}}]})


def test_cut_histories_are_of_the_same_cold_users(bench, log):
    found = bench["_quality_cases"].cut_histories(log, 3)
    assert list(found) == [f"history {n}" for n in ("0", "1", "2", "5", "10", "10+")]
    whole, train = histories(found["history 10+"].holdout), hold_out_users(log).known
    assert whole
    for name, trial in found.items():
        own = histories(trial.holdout)
        assert own.keys() == whole.keys()
        assert (np.diff(train.offsets)[list(own)] == 0).all()  # they are in no training
        assert trial.holdout.targets.tolist() == found["history 0"].holdout.targets.tolist()
        if not name.endswith("+"):
            length = int(name.split()[1])
            assert all(history == whole[user][len(whole[user]) - length :] for user, history in own.items())
    assert min(map(len, whole.values())) >= 10
    assert max(map(len, whole.values())) > 10
    assert found["history 10+"].card.n_users == len(whole)


def test_a_result_is_kept_by_what_python_makes_of_the_code(bench):
    meaning = bench["_quality_keys"].meaning
    plain = 'def f(x):\n    return x + 1\n\nclass A:\n    x: int = 0\n\nTEXT = "a"\n'
    said = '"""Doc."""\n\n# why\ndef f(x):\n    """Doc."""\n    return (x\n        + 1)\n'
    said += 'class A:\n    """Doc."""\n    x: int = 0\n'
    assert meaning(plain) == meaning(said + 'TEXT = "a"\n"""Of TEXT."""\n')
    assert meaning(plain) != meaning(plain.replace("+ 1", "+ 2"))
    assert meaning(plain) != meaning(plain.replace('"a"', '"b"'))


def test_which_code_decides_what(bench, monkeypatch):
    """A new command changes no key, a table none of the fits, an encoder all of llmrec's, and a split every one."""
    keys, extra = bench["_quality_keys"], []
    hash_of = keys._hash_of

    def versions(changed):
        extra[:] = [changed]
        keys.code_version.cache_clear()
        return {of: keys.code_version(of) for of in ("fit", "measure", "external")}

    monkeypatch.setattr(keys, "_hash_of", lambda path: hash_of(path) + str(extra and path.match(extra[0])))
    before = versions("nothing")
    for changed, moved in {
        "cli/fit.py": set(),
        "errors.py": set(),
        "testing/data.py": set(),
        "evaluate/plots.py": set(),
        "evaluate/report.py": {"measure"},
        "_quality_tables.py": set(),
        "_quality_cases.py": {"measure"},
        "sasrec.py": {"external"},
        "prompts/item/title.toml": {"fit"},
        "retrieve/ease.py": {"fit", "measure"},
        "evaluate/metrics.py": {"fit", "measure"},
        "data/split_last.py": {"fit", "measure", "external"},
    }.items():
        after = versions(changed)
        assert {of for of in after if after[of] != before[of]} == moved, changed
    keys.code_version.cache_clear()


@pytest.mark.parametrize(
    ("file", "said", "other", "moved"),
    [
        ("_quality_cases.py", '"seen": "last"', '"seen": "time"', True),
        ("_quality_cases.py", "without_last(log)", "without_last(log, 4)", True),
        ("_quality_cases.py", "random(len(log))", "random(len(log)) + 1", True),
        ("_quality_cases.py", 'WARM = "warm targets"', 'WARM = "warm"', False),
        ("_quality_job.py", "permutation(len(catalog))", "permutation(len(catalog))[::-1]", True),
        ("_quality_job.py", "DEEP = 200", "DEEP = 100", False),
    ],
)
def test_what_a_fit_is_given_decides_its_key(bench, monkeypatch, tmp_path, file, said, other, moved):
    keys = bench["_quality_keys"]
    for path in keys.BENCH.glob("*.py"):
        (tmp_path / path.name).write_text(path.read_text())
    monkeypatch.setattr(keys, "BENCH", tmp_path)

    def versions():
        keys.code_version.cache_clear()
        return keys.code_version("fit"), keys.code_version("external")

    before, text = versions(), (tmp_path / file).read_text()
    assert text.count(said) == 1
    (tmp_path / file).write_text(text.replace(said, other))
    assert all((one != two) == moved for one, two in zip(before, versions(), strict=True))
    keys.code_version.cache_clear()


def test_shares_have_intervals_that_hold_them(bench):
    share_interval = bench["_quality_tables"].share_interval
    rng = np.random.default_rng(0)
    theirs = rng.random(500)
    assert share_interval(theirs, theirs, 100) == (1.0, 1.0)
    low, high = share_interval(0.9 * theirs + 0.1 * rng.random(500), theirs, 500)
    assert low < 1.0 < high < 1.1
    assert share_interval(0.5 * theirs, theirs, 100) == pytest.approx((0.5, 0.5))
