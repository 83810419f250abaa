"""scripts/bench/sasrec.py without RecTools: what goes to the other side and what comes back."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import llmrec
from llmrec.data import Dataset, leave_last_out
from llmrec.evaluate import Wanted, benchmark_on

IDS = [f"00{n}" for n in range(12)]


@pytest.fixture
def data():
    """Ids that are numbers with zeros before them."""
    catalog = llmrec.Catalog.from_table({"item_id": IDS, "title": [f"t{n}" for n in range(12)]})
    rng = np.random.default_rng(0)
    table = {"user_id": [], "item_id": []}
    for user in range(20):
        items = rng.permutation(12)[: rng.integers(3, 9)]
        table["user_id"] += [f"0{user}"] * len(items)
        table["item_id"] += [IDS[item] for item in items]
    return Dataset("d", catalog, llmrec.Interactions.from_table(table, catalog))


def answer(work):
    """What the other side does, but for the model: everybody gets the items they have not taken, in order."""
    order = json.loads((work / "order.json").read_text())
    with (work / "known.csv").open() as file:
        known = list(csv.DictReader(file))
    rows = []
    for user in order["users"]:
        seen = {row["item_id"] for row in known if row["user_id"] == user}
        rows += [(user, item, rank) for rank, item in enumerate([i for i in IDS if i not in seen], start=1)]
    with (work / "lists.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("user_id", "item_id", "rank"), *rows])
    (work / "cost.json").write_text(json.dumps({"fit_seconds": 2.0, "peak_gb": 1.0, "measure_seconds": 0.0}))


def test_lists_come_back_by_id(bench, data, tmp_path, monkeypatch):
    sasrec, called = bench["sasrec"], []

    def run(command, **_):
        called.append(command)
        answer(Path(command[-1]))

    monkeypatch.setattr(sasrec, "environment", lambda folder: folder / "python")
    monkeypatch.setattr(sasrec.subprocess, "run", run)
    path, cost = sasrec.lists(data, {"epochs": 3}, 7, tmp_path / "work")
    assert cost["fit_seconds"] == 2.0
    assert called[0][:2] == [str(tmp_path / "sasrec" / "python"), str(Path(sasrec.__file__).resolve())]
    order = json.loads((tmp_path / "work" / "order.json").read_text())
    assert (order["settings"], order["seed"]) == ({"epochs": 3}, 7)
    split = leave_last_out(data.interactions)
    for name, part in (("train", split.train), ("known", split.known)):
        with (tmp_path / "work" / f"{name}.csv").open() as file:
            rows = [(row["user_id"], row["item_id"], int(row["place"])) for row in csv.DictReader(file)]
        lengths = np.diff(part.offsets)
        users = data.interactions.users.decode(np.repeat(np.arange(part.n_users), lengths))
        places = np.concatenate([np.arange(length) for length in lengths])
        assert rows == list(zip(users, data.catalog.items.decode(part.items), places.tolist(), strict=True))
    report = benchmark_on("last", data.catalog, data.interactions, Wanted()).measure_lists(path, "last")
    assert report.card.seen_excluded
    assert report.metrics["Recall@10"].mean > 0.5


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("order.json", '{"settings": {"epochs": 4}, "seed": 7}'),
        ("order.json", '{"settings": {"epochs": 3}, "seed": 8}'),
        ("train.csv", "user_id,item_id,place\n00,01,1\n"),
    ],
)
def test_a_checkpoint_is_found_again_by_the_same_order_and_data_only(bench, tmp_path, name, other):
    find = bench["sasrec"].checkpoint_path
    files = {"order.json": '{"settings": {"epochs": 3}, "seed": 7}', "train.csv": "user_id,item_id,place\n00,01,0\n"}
    for one, text in files.items():
        (tmp_path / one).write_text(text)
    before = find(tmp_path)
    (tmp_path / "known.csv").write_text("of no importance to the fit")
    assert find(tmp_path) == before
    (tmp_path / name).write_text(other)
    assert find(tmp_path) != before
    (tmp_path / name).write_text(files[name])
    assert find(tmp_path) == before
    assert before.parent == tmp_path


def test_an_environment_is_made_once_and_again_when_its_packages_change(bench, tmp_path, monkeypatch):
    sasrec, steps = bench["sasrec"], []
    monkeypatch.syspath_prepend(str(sasrec.SCRIPTS))
    import _environment

    class Setup:
        """Notes the steps instead of doing them."""

        cpu_only, constraints = True, ("-c", "constraints.txt")

        def __init__(self, venv, options, extras):
            self.venv = venv

        def create(self):
            steps.append("create")

        def choose_torch(self):
            steps.append("choose_torch")

        def pip(self, *arguments):
            steps.append(arguments[-len(sasrec.PACKAGES) :])
            return "none" not in sasrec.PACKAGES

        def log_tail(self):
            return "the log"

    monkeypatch.setattr(_environment, "Setup", Setup)
    python = sasrec.environment(tmp_path / "sasrec")
    assert python.is_relative_to(tmp_path / "sasrec" / ".venv")
    assert steps == ["create", "choose_torch", sasrec.PACKAGES]
    assert sasrec.environment(tmp_path / "sasrec") == python
    assert len(steps) == 3
    monkeypatch.setattr(sasrec, "PACKAGES", ("none",))
    with pytest.raises(SystemExit, match="pip could not install none"):
        sasrec.environment(tmp_path / "sasrec")
    monkeypatch.setattr(sasrec, "PACKAGES", ("some",))
    sasrec.environment(tmp_path / "sasrec")
    (site,) = [tmp_path / "sasrec" / ".venv" / "lib" / "python3.11" / "site-packages" / "nvidia_cublas-1.dist-info"]
    site.mkdir(parents=True)
    monkeypatch.setattr(sasrec, "PACKAGES", ("other",))
    with pytest.raises(SystemExit, match="CUDA libraries came along"):
        sasrec.environment(tmp_path / "sasrec")
