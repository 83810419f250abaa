"""scripts/bench/prompts_page.py on tiny models: a page with every number's command, and the same from the store."""

import json
import sys


def test_a_page_is_written_and_nothing_is_measured_twice(
    bench, data, bert, causal_model, tmp_path, monkeypatch, capsys
):
    store, page = tmp_path / "lab.sqlite", tmp_path / "prompts.md"
    options = ["--dataset", str(data), "--store", str(store), "--encoder", str(bert), "--lm", str(causal_model)]
    options += ["--kinds", "item", "chat", "--rerank-users", "5"]
    monkeypatch.setattr(sys, "argv", ["script", *options, "--out", str(page)])
    bench["prompts_page"].main()
    text = page.read_text()
    said = f"--kinds item chat --rerank-users 5 --encoder {bert} --lm {causal_model} --out docs/prompts.md\n"
    assert f"python scripts/bench/prompts_page.py --dataset {data} {said}" in text
    assert "## Items, as the retriever reads them" in text
    assert "| item/labelled" in text
    assert "chat/yes-no" in text
    assert "lm, 5 users: chat/next has nothing to be compared with." in text
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["script", *options, "--json"])
    bench["prompts_page"].main()
    found = json.loads(capsys.readouterr().out)
    runs = [t for compared in found.values() for one in compared for judge in one["judges"] for t in judge["templates"]]
    assert len(runs) == 8
    assert all(run["from_store"] for run in runs)
