"""What every command prints with --json has the shape kept in tests/golden/schemas, which programs may rely on.

A key that appears, vanishes or changes its type fails here until the schema is changed too, on purpose.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer

from llmrec.cli.app import app

SCHEMAS = Path(__file__).parents[1] / "golden" / "schemas"
APPLICATION = typer.main.get_command(app)
NOT_OF_A_COMMAND = {"error", "recommend-requests", "recommend-out", "recommend-requests-out"}


def commands() -> Iterator[tuple[str, Any]]:
    for name, command in APPLICATION.commands.items():
        inner = getattr(command, "commands", None)
        if inner is None:
            yield name, command
        else:
            yield from ((f"{name}-{below}", part) for below, part in inner.items())


def schema(name: str) -> Any:
    return json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))


def check(name: str, value: Any) -> None:
    jsonschema.validate(value, schema(name), jsonschema.Draft202012Validator)


def objects(node: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        if "properties" in node or node.get("type") == "object":
            yield place, node
        for key, part in node.items():
            yield from objects(part, f"{place}/{key}")
    elif isinstance(node, list):
        for number, part in enumerate(node):
            yield from objects(part, f"{place}/{number}")


def test_every_command_with_json_has_a_schema():
    with_json = {name for name, command in commands() if any("--json" in p.opts for p in command.params)}
    assert {path.stem for path in SCHEMAS.glob("*.json")} == with_json | NOT_OF_A_COMMAND
    assert {name for name, _ in commands()} - with_json == {"config-schema"}  # which is JSON anyway


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.stem)
def test_schemas_leave_nothing_open(path):
    values = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(values)
    for place, node in objects(values, ""):
        assert "additionalProperties" in node, f"{path.name}{place} lets any key pass"
        assert node["additionalProperties"] is not True
        if node["additionalProperties"] is False:
            assert "required" in node, f"{path.name}{place} does not say which keys are always there"


@pytest.fixture(scope="module")
def places(run, data, text_bundle, held_bundle, text_config, bert, pair_model, causal_model, tmp_path_factory):
    """What the commands below are given."""
    folder = tmp_path_factory.mktemp("json")
    shutil.copytree(text_bundle, folder / "grown")
    shutil.copytree(held_bundle, folder / "carded")
    (folder / "requests.jsonl").write_text('{"user_id": "u1"}\n{"history": ["i1"], "k": 2}\n')
    (folder / "log.csv").write_text(f'{(data / "interactions.csv").read_text()}"u1","i2x",999\n')
    full = folder / "full"
    full.mkdir()
    (full / "items.csv").write_bytes((data / "items.csv").read_bytes())
    (full / "users.csv").write_text("user_id,age\nu1,30\nu2,\n")
    log = (data / "interactions.csv").read_text().splitlines()
    lines = [f"{line},{row % 5 + 1},{'buy' if row % 2 else 'view'},{row % 3 + 1}" for row, line in enumerate(log[1:])]
    (full / "interactions.csv").write_text(f"{log[0]},rating,kind,weight\n" + "\n".join(lines) + "\n")
    (folder / "tuned.toml").write_text(
        "[tune]\none.ease.l2 = { low = 1, high = 9 }\none.keep = { choices = [5, 50] }\n"
        '[[stages]]\nname = "one"\n[stages.retrievers.popularity]\n[stages.retrievers.ease]\n'
    )
    (folder / "clicks.jsonl").write_text('{"history": ["i1"], "shown": ["i2", "i3"], "clicked": ["i3"]}\n')
    return {
        "data": data,
        "clicks": folder / "clicks.jsonl",
        "llama": causal_model,
        "tuned": folder / "tuned.toml",
        "full": full,
        "log": folder / "log.csv",
        "items": data / "items.csv",
        "text": text_bundle,
        "held": held_bundle,
        "grown": folder / "grown",
        "carded": folder / "carded",
        "config": text_config,
        "requests": folder / "requests.jsonl",
        "bert": bert,
        "pair": pair_model,
        "new": folder,
    }


RUNS = {
    "doctor": ["doctor"],
    "fit": ["fit --dataset {data} --config {config} --out {new}/fitted"],
    "train-encoder": [
        "train encoder --dataset {data} --out {new}/tuned --setting encoder={bert} --setting batch_size=16 "
        "--setting pairs=32 --setting item_template=item/title --setting checks=1"
    ],
    "train-pretrain": ["train pretrain --dataset {data} --out {new}/mlm --encoder {bert} --template item/title"],
    "train-language-model": [
        "train language-model --dataset {data} --out {new}/lm --setting model={llama} --setting cases=8 "
        "--setting negatives=1 --setting checks=1 --setting check_users=4"
    ],
    "train-preferences": [
        "train preferences --dataset {data} --impressions {clicks} --out {new}/dpo --setting model={llama}"
    ],
    "tune": [
        "tune --dataset {data} --config {tuned} --trials 11",
        "tune --dataset {data} --config {tuned} --trials 2 --out {new}/best.toml",
    ],
    "recommend": [
        "recommend --bundle {text} --users u1,u2",
        "recommend --bundle {text} --history i3 --wish zoo",
    ],
    "recommend-out": ["recommend --bundle {text} --users all --out {new}/lists.csv"],
    "recommend-requests-out": ["recommend --bundle {text} --requests {requests} --out {new}/answers.jsonl"],
    "explain": [
        "explain --bundle {text} --users u1,u2 --k 2 --fields genres",
        "explain --bundle {text} --history i3 --wish zoo --item i5",
    ],
    "similar": ["similar --bundle {text} i1 i2"],
    "search": ["search --bundle {text} zoo"],
    "evaluate": [
        "evaluate --bundle {held} --dataset {data}",
        "evaluate --bundle {held} --dataset {data} --k 5,10 --strata --field genres",
        "evaluate --bundle {carded} --dataset {data} --card",
    ],
    "compare": ["compare {held} {new}/fitted-held --dataset {data}"],
    "prompt-render": [
        "prompt render user/recent --dataset {data} --model {bert}",
        "prompt render item/title --dataset {data} --model {bert}",
        "prompt render pair/history --dataset {data} --model {bert}",
        "prompt render chat/yes-no --dataset {data} --model {llama}",
    ],
    "prompt-list": ["prompt list"],
    "prompt-show": ["prompt show user/profile"],
    "prompt-new": ["prompt new {new}/mine.toml --kind chat"],
    "prompt-test": ["prompt test user/profile --dataset {data} --model {bert}"],
    "prompt-diff": ["prompt diff user/recent user/genres --dataset {data} --model {bert}"],
    "prompt-compare": [
        "prompt compare user/recent user/genres --paraphrase user/sentence --dataset {data} --encoder {bert}",
        "prompt compare pair/history --dataset {data} --cross-encoder {pair} --first popularity",
    ],
    "prompt-search": ["prompt search item/title --fields genres --dataset {data} --encoder {bert} --trials 3"],
    "assets": ["assets"],
    "data-check": ["data check --dataset {data}", "data check --items {items} --interactions {log}"],
    "data-describe": [
        "data describe --dataset {data}",
        "data describe --dataset {full} --encoder {bert}",
    ],
    "data-split": [
        "data split --dataset {data} --out {new}/a",
        "data split --dataset {data} --by cold-users --out {new}/b",
    ],
    "config-show": ["config show --config {config}", "config show", "config show --config {tuned}"],
    "items-add": ["items add --bundle {grown} --id new --field title=Zoo"],
    "items-change": ["items change --bundle {grown} --id i1 --field title=Zoo"],
    "items-delete": ["items delete --bundle {grown} i2"],
    "refit": ["refit {text} --store {new}/store.sqlite --out {new}/refitted --deploy default"],
    "key-add": ["key add shop --scope feedback --store {new}/keys.sqlite"],
    "key-list": ["key list --store {new}/keys.sqlite"],
    "push": ["push {text} my-name/shop --dry-run"],
}
ALL = [(name, line) for name, lines in RUNS.items() for line in lines]


@pytest.mark.parametrize(("name", "line"), ALL, ids=[line for _, line in ALL])
def test_output_has_its_schema(run, places, name, line):
    if "fitted-held" in line:
        command = ["fit", "--dataset", places["data"], "--holdout", "last", "--set", "stages.hybrid.keep=9"]
        assert run(*command, "--config", places["config"], "--out", places["new"] / "fitted-held").code == 0
    result = run(*line.format(**places).split(), "--json")
    assert result.code in (0, 3), result.err
    check(name, result.json)


def test_answers_to_requests_have_their_schema(run, places):
    result = run("recommend", "--bundle", places["text"], "--requests", places["requests"])
    for line in result.out.splitlines():
        check("recommend-requests", json.loads(line))


@pytest.mark.parametrize("words", [["fit", "--holdin", "x"], ["similar", "--bundle", "nowhere", "x"], ["nothing"]])
def test_errors_have_their_schema(run, words):
    check("error", json.loads(run(*words, "--json").err))


def test_another_shape_is_noticed(run, places):
    found = run("recommend", "--bundle", places["text"], "--users", "u1", "--json").json
    for wrong in ({**found[0], "new": 1}, {"user_id": "u1"}, {**found[0], "items": [{"rank": "1"}]}):
        with pytest.raises(jsonschema.ValidationError):
            check("recommend", [wrong])
