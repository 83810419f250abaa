"""`llmrec compare`: bundles, stored reports and lists side by side, and what it will not compare."""

from __future__ import annotations

import pytest
from pyarrow import parquet

from llmrec.evaluate import holm, load_evaluations


@pytest.fixture(scope="module")
def lone_bundle(run, data, tmp_path_factory):
    """Popularity alone."""
    folder = tmp_path_factory.mktemp("lone")
    config = folder / "lone.toml"
    config.write_text('[[stages]]\nname = "first"\n[stages.retrievers.popularity]\n')
    result = run("fit", "--dataset", data, "--config", config, "--holdout", "last", "--out", folder / "lone")
    assert result.code == 0, result.err
    return folder / "lone"


@pytest.fixture(scope="module")
def stored(run, held_bundle, data, tmp_path_factory):
    """What `evaluate --out` wrote of the bundle with EASE."""
    out = tmp_path_factory.mktemp("stored") / "mine"
    result = run("evaluate", "--bundle", held_bundle, "--dataset", data, "--k", "5,10", "--out", out, "--no-plots")
    assert result.code == 0, result.err
    return out


@pytest.fixture(scope="module")
def lists(run, held_bundle, tmp_path_factory):
    """The lists of the bundle with EASE in a file."""
    out = tmp_path_factory.mktemp("lists") / "peer.parquet"
    result = run("recommend", "--bundle", held_bundle, "--users", "all", "--k", 10, "--holdout", "last", "--out", out)
    assert result.code == 0, result.err
    return out


def test_two_bundles(run, held_bundle, lone_bundle, data):
    result = run("compare", lone_bundle, held_bundle, "--dataset", data, "--json")
    assert result.code == 0, result.err
    found = result.json["tests"]["last"]
    assert (found["main"], found["baseline"]) == ("held", "lone")
    assert list(found["reports"]) == ["lone", "held"]
    means = {name: report["metrics"]["NDCG@10"]["mean"] for name, report in found["reports"].items()}
    (difference,) = found["differences"]
    assert difference["difference"] == pytest.approx(means["held"] - means["lone"])
    assert difference["p"] == difference["p_holm"]


def test_all_three_kinds_give_one_answer(run, held_bundle, lone_bundle, stored, lists, data):
    sources = (lone_bundle, held_bundle, stored, lists)
    result = run("compare", *sources, "--dataset", data, "--metrics", "NDCG@10, MRR@5", "--json")
    assert result.code == 0, result.err
    found = result.json["tests"]["last"]
    assert list(found["reports"]) == ["lone", "held", "mine", "peer"]
    same = [found["reports"][name]["metrics"] for name in ("held", "mine", "peer")]
    assert same[0] == same[1] == same[2]
    assert [(d["metric"], d["method"]) for d in found["differences"]] == [
        (metric, method) for metric in ("NDCG@10", "MRR@5") for method in ("held", "mine", "peer")
    ]
    corrected = holm([d["p"] for d in found["differences"]])
    assert [d["p_holm"] for d in found["differences"]] == corrected.tolist()


def test_stored_reports_need_no_data(run, stored, tmp_path):
    out = tmp_path / "again"
    result = run("compare", f"{stored}:popularity", stored, f"{stored}:ease", "--out", out, "--no-plots")
    assert result.code == 0, result.err
    for shown in ("mine:popularity", "mine:ease", "NDCG@10 minus mine:popularity", "NDCG@5", "p (Holm)", "LOO (leave"):
        assert shown in result.out
    (before,), (after,) = load_evaluations(stored).values(), load_evaluations(out).values()
    assert after.reports["mine"].to_dict() == before.reports["hybrid"].to_dict()
    assert after.user_ids == before.user_ids


def test_lists_alone_use_the_split_asked_for(run, lists, data, tmp_path):
    first = next(row for row in parquet.read_table(lists).to_pylist() if row["user_id"] == "u1")
    twin = tmp_path / "twin.csv"
    twin.write_text(f"user_id,rank,item_id\nu1,1,{first['item_id']}\n")
    result = run("compare", lists, twin, "--dataset", data, "--json")
    assert result.code == 0, result.err
    found = result.json["tests"]["last"]
    assert found["baseline"] == "peer"
    assert "38 users without a list: misses" in found["reports"]["twin"]["protocol"]["note"]
    cold = run("compare", lists, twin, "--dataset", data, "--holdout", "cold-items", "--json")
    assert (cold.code, cold.out) == (3, "")
    assert "twin.csv has no list for any of the" in cold.err


def test_different_users_and_protocols_are_refused(run, held_bundle, lone_bundle, stored, data, plain_config, tmp_path):
    result = run("compare", stored, lone_bundle, "--dataset", data, "--users", 5)
    assert (result.code, result.out) == (3, "")
    assert "results of different protocols must not be compared (n_users: 39 and 5)" in result.err
    cold = tmp_path / "cold"
    assert run("fit", "--dataset", data, "--config", plain_config, "--holdout", "cold-items", "--out", cold).code == 0
    report = tmp_path / "report"
    assert run("evaluate", "--bundle", cold, "--dataset", data, "--out", report, "--no-plots").code == 0
    result = run("compare", stored, report)
    assert (result.code, result.out) == (3, "")
    assert "mine was measured on last and report on among all, among cold" in result.err
    result = run("compare", held_bundle, cold, "--dataset", data)
    assert (result.code, result.out) == (3, "")
    assert "LEAKAGE" in result.err


def test_the_same_numbers_of_other_users_are_refused(run, stored, tmp_path, held_bundle, data):
    samples = [tmp_path / "a", tmp_path / "b"]
    for out in samples:
        command = ("evaluate", "--bundle", held_bundle, "--dataset", data, "--users", 5, "--out", out, "--no-plots")
        assert run(*command).code == 0
    assert run("compare", *samples).code == 0
    from dataclasses import replace

    from llmrec.evaluate import write_evaluations

    (evaluation,) = load_evaluations(samples[1]).values()
    others = replace(evaluation, user_ids=tuple(f"x{i}" for i in range(5)))
    write_evaluations(samples[1], {"last": others}, plots=False)
    result = run("compare", *samples)
    assert (result.code, result.out) == (3, "")
    assert "a and b were measured on different users" in result.err


@pytest.mark.parametrize(
    ("sources", "code", "said"),
    [
        (["{stored}"], 2, "at least two"),
        (["{stored}", "{stored}"], 2, "given twice"),
        (["{stored}", "{stored}:nothing"], 2, "has no method 'nothing'; it has: popularity, ease, hybrid"),
        (["{stored}", "nowhere"], 3, "there is no nowhere; name a bundle"),
        (["{stored}", "{bundle}"], 2, "name the data with --dataset"),
        (
            ["{stored}", "{stored}:ease", "--metrics", "NDCG@7"],
            2,
            "--metrics: no 'NDCG@7' of all that is compared; there are: NDCG@5,",
        ),
        (["{bundle}", "{stored}", "--dataset", "{data}", "--holdout", "last"], 2, "--holdout is for lists alone"),
    ],
)
def test_refusals(run, held_bundle, stored, data, sources, code, said):
    given = [source.format(stored=stored, bundle=held_bundle, data=data) for source in sources]
    result = run("compare", *given)
    assert (result.code, result.out) == (code, "")
    assert said in result.err
    assert "Traceback" not in result.err


def test_one_name_twice_is_told_apart_by_the_path(run, held_bundle, lone_bundle, data, tmp_path):
    out = tmp_path / "held"
    command = ("evaluate", "--bundle", lone_bundle, "--dataset", data, "--out", out, "--no-plots")
    assert run(*command).code == 0
    found = run("compare", out, held_bundle, "--dataset", data, "--json").json["tests"]["last"]
    assert list(found["reports"]) == [str(out), str(held_bundle)]


def test_strata_are_shown_of_what_has_them(run, held_bundle, stored, data, tmp_path):
    out = tmp_path / "r"
    result = run("compare", stored, held_bundle, "--dataset", data, "--strata", "--out", out, "--no-plots")
    assert result.code == 0, result.err
    assert "NDCG@10 held" in result.out
    assert "NDCG@10 mine" not in result.out.replace("NDCG@10 minus mine", "")
    result = run("compare", out, stored)  # its main method is the one with strata
    assert result.code == 0, result.err


def test_a_place_without_a_name_of_its_own(run, held_bundle, stored, data, monkeypatch):
    monkeypatch.chdir(held_bundle)
    result = run("compare", ".", stored, "--dataset", data, "--json")
    assert result.code == 0, result.err
    assert list(result.json["tests"]["last"]["reports"]) == ["held", "mine"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["{stored}", "{stored}:ease", "--k", "3", "--strata"], "--k, --strata say what is to be measured"),
        (["{stored}", "{stored}:ease", "--holdout", "time"], "--holdout say what is to be measured"),
        (["{stored}", "{stored}/."], "given twice"),
        (["{stored}", "{bundle}", "--dataset", "{data}", "--metrics", "NDGC@10"], "--metrics: no 'NDGC@10'"),
        (["{stored}", "{bundle}", "--dataset", "{data}", "--k", "7"], "no cut-off in common"),
    ],
)
def test_mistakes_are_told_before_the_work(run, held_bundle, stored, data, options, said):
    given = [option.format(stored=stored, bundle=held_bundle, data=data) for option in options]
    result = run("compare", *given)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert "measuring" not in result.err
