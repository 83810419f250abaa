from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

import llmrec
from llmrec.assets import ASSETS
from llmrec.bundle import CARD, MANIFEST, read_bundle, sha256_of
from llmrec.card import annotate, model_card
from llmrec.errors import BundleError
from llmrec.testing.data import tiny_users
from llmrec.text import load_template
from llmrec.types import State

METRICS = {
    "test | last": {
        "protocol": {"name": "LOO", "n_users": 17, "data_hash": "a" * 64, "note": ""},
        "metrics": {"NDCG@10": {"mean": 0.12345, "low": 0.1, "high": 0.2}},
        "totals": {"coverage@10": 0.5},
    }
}


@pytest.fixture(scope="module")
def path(cascade, tmp_path_factory):
    it = replace(cascade, users=tiny_users()).with_notes(metrics=METRICS, cleaning={"dropped": 3})
    return it.remove_items(["i4"]).save(tmp_path_factory.mktemp("card") / "bundle")


@pytest.fixture
def text(path):
    return (path / CARD).read_text(encoding="utf-8")


def test_the_hub_reads_its_head(path):
    data = ModelCard.load(path / CARD).data
    assert (data.library_name, data.license) == ("llmrec", "other")
    assert "recommender-system" in data.tags


def test_it_says_what_the_bundle_is_and_how_it_was_made(text, cascade):
    about = cascade.about
    for fact in (
        "**hybrid**",
        "`dense` (depth 200)",
        "`rerank_fusion` (rrf) with weights hybrid 1, cross_encoder 1",
        "| items | 12 |",
        "| removed items | 1 |",
        f"| interactions | {len(cascade.histories)} |",
        "| profiles | 19 |",
        "| stored histories | yes |",
        about["data"]["catalog"],
        about["data"]["interactions"],
        '"seed": 0',
        '"dropped": 3',
        "## Limits",
    ):
        assert fact in text, fact


def test_metrics_stand_with_their_intervals_and_protocol(text):
    assert "| test \\| last | NDCG@10 | 0.1235 | 0.1000 | 0.2000 |" in text
    assert "| test \\| last | coverage@10 | 0.5000 |" in text
    assert f"n_users 17; data_hash `{'a' * 64}`" in text
    assert "note" not in text.split("Protocol")[1].split("##")[0]


def test_templates_stand_with_their_fingerprints(text):
    for component, name in (("dense", "item/title"), ("cross_encoder", "pair/history")):
        template = load_template(name)
        assert f"| `{component}` | `{name}` | {template.version} | `{template.fingerprint}` |" in text


def test_models_stand_with_their_licences(tmp_path, monkeypatch):
    def licence(**files):
        state = State({}, {}, {f"encoder/{name}": path for name, path in files.items()})
        return next(line for line in model_card({}, {"components/d": state}).splitlines() if "files/encoder" in line)

    config, weights, card = tmp_path / "config.json", tmp_path / "w", tmp_path / "card"
    config.write_text('{"architectures": ["BertModel"]}')
    weights.write_bytes(b"weights")
    files = {"config.json": config, "model.safetensors": weights}
    folder = "`parts/components/d/files/encoder`"
    assert licence(**files) == f"| {folder} | BertModel | not stated; see where the weights came from |"
    card.write_text("---\ntags:\n- x\nlicense: mit # stated\n---\n# A model\nlicense: other\n", encoding="utf-8")
    assert licence(**files, **{"README.md": card}).endswith("| mit |")
    card.write_text("license: mit\n", encoding="utf-8")
    assert "not stated" in licence(**files, **{"README.md": card})
    known = replace(ASSETS["minilm"], files={"model.safetensors": sha256_of(weights)})
    monkeypatch.setattr("llmrec.card.ASSETS", {"minilm": known})
    assert licence(**files).endswith("| Apache-2.0 |")


def test_a_models_own_card_and_licence_go_into_the_bundle(hybrid, bert, tmp_path):
    import shutil

    from llmrec.models import TextEncoder
    from llmrec.retrieve import DenseConfig, fit_dense

    folder = shutil.copytree(bert, tmp_path / "model")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    (folder / "LICENSE.txt").write_text("MIT")
    dense = fit_dense(hybrid.catalog, DenseConfig(item_template="item/title"), TextEncoder.load(str(folder)))
    stage = replace(hybrid.stages[0], retrievers=((hybrid.fallback, 5), (dense, 5)))
    it = replace(hybrid, stages=(stage,))
    for name in ("first", "again"):  # also when the encoder comes from a bundle
        path = it.save(tmp_path / name)
        assert "| BertModel | mit |" in (path / CARD).read_text(encoding="utf-8")
        it = llmrec.load(path)
    assert (path / "parts/components/dense/files/encoder/LICENSE.txt").read_text() == "MIT"


def test_notes_may_be_added_to_a_saved_bundle(path, cascade, queries):
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    lists = llmrec.load(path).recommend(queries, 5).items
    annotate(path, {"license": "mit", "cleaning": {"dropped": 4}})
    assert {p.name for p in before if p.read_bytes() != before[p]} == {CARD, MANIFEST}
    text = (path / CARD).read_text(encoding="utf-8")
    assert "license: mit" in text
    assert '"dropped": 4' in text
    assert "NDCG@10 | 0.1235" in text
    again = llmrec.load(path)
    assert again.about == {**cascade.about, "metrics": METRICS, "license": "mit", "cleaning": {"dropped": 4}}
    assert again.recommend(queries, 5).items.tolist() == lists.tolist()
    assert again.save(path) == path
    assert (path / CARD).read_text(encoding="utf-8") == text
    with pytest.raises(BundleError, match="is not a bundle"):
        annotate(path.parent, {})


def test_a_card_without_any_notes(tmp_path, hybrid):
    path = replace(hybrid, about=None, histories=None).save(tmp_path / "bare")
    text = (path / CARD).read_text(encoding="utf-8")
    assert "None were stored with this bundle." in text
    assert "| stored histories | no |" in text
    assert "## Configuration" not in text
    assert read_bundle(path)[0]["about"] == {}
