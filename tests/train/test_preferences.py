"""Clicks over what was shown: what is read, what is refused, and that it is learned."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from llmrec.data import Catalog
from llmrec.errors import ConfigError, DataError, UnknownIdError
from llmrec.rerank.language import Reader, Title, TitleConfig
from llmrec.testing.models import tiny_llama
from llmrec.train import PreferenceConfig, TrainOptions, read_impressions, read_record, train_preferences

WORDS = ["red", "oak", "fox", "sun", "ice", "map", "cup", "hat"]
ROWS = {
    "history": [["i0", "i1"], ["i1"], [], ["i2"], ["i3"]],
    "shown": [["i4", "i5", "i6"], ["i5", "i7"], ["i4", "i5"], ["i6"], ["i4", "i6"]],
    "clicked": [["i5"], ["i7"], ["i4"], ["i6"], []],
}


@pytest.fixture(scope="module", autouse=True)
def _float32():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_DTYPE", "float32")
        yield


@pytest.fixture(scope="module")
def catalog():
    return Catalog.from_table({"item_id": [f"i{n}" for n in range(8)], "title": WORDS})


def test_lists_that_teach_something_are_kept(catalog, tmp_path):
    found = read_impressions(ROWS, catalog)
    assert [row.tolist() for row in found.queries.histories] == [[0, 1], [1]]
    assert [row.tolist() for row in found.clicked] == [[5], [7]]
    assert [row.tolist() for row in found.skipped] == [[4, 6], [5]]
    lists, pairs = found.pairs(5, seed=0)
    assert lists.tolist() == [0, 0, 1]
    assert sorted(map(tuple, pairs.tolist())) == [(5, 4), (5, 6), (7, 5)]
    assert found.pairs(1, seed=0)[1].shape == (2, 2)
    texts = {name: [" ".join(ids) for ids in column] for name, column in ROWS.items()}
    lines = ["history,shown,clicked", *(",".join(row) for row in zip(*texts.values(), strict=True))]
    (tmp_path / "clicks.csv").write_text("\n".join(lines))
    again = read_impressions(tmp_path / "clicks.csv", catalog)
    assert [row.tolist() for row in again.skipped] == [row.tolist() for row in found.skipped]
    objects = [dict(zip(ROWS, row, strict=True)) for row in zip(*ROWS.values(), strict=True)]
    (tmp_path / "clicks.jsonl").write_text("\n".join(map(json.dumps, objects)))
    assert len(read_impressions(tmp_path / "clicks.jsonl", catalog)) == 2


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"clicked": [["i0"]] * 5}, DataError, "row 1 of the impressions: 'i0' clicked, but not among what was shown"),
        ({"shown": [["i9"]] * 5}, UnknownIdError, "row 1 of the impressions, shown: .*i9"),
        ({"history": [[]] * 5}, DataError, "no list of the impressions has a history"),
        ({"history": [4] * 5}, DataError, "history must be item ids, got 4"),
    ],
)
def test_what_cannot_be_used_is_named(catalog, changed, error, said):
    with pytest.raises(error, match=said):
        read_impressions(ROWS | changed, catalog)


def test_a_missing_column_is_named(catalog):
    with pytest.raises(DataError, match="no column 'clicked'; they have history, shown"):
        read_impressions({name: ROWS[name] for name in ("history", "shown")}, catalog)


@pytest.fixture(scope="module")
def world(catalog, tmp_path_factory):
    """Of what is shown, the second half of the catalog is clicked."""
    pytest.importorskip("trl")
    base = tiny_llama(tmp_path_factory.mktemp("base") / "tiny", words=WORDS, seed=1)
    rng = np.random.default_rng(0)
    rows = [(rng.integers(8), rng.integers(4), 4 + rng.integers(4)) for _ in range(24)]
    names = [[f"i{item}" for item in row] for row in rows]
    table = {
        "history": [[row[0]] for row in names],
        "shown": [[row[1], row[2]] for row in names],
        "clicked": [[row[2]] for row in names],
    }
    return base, read_impressions(table, catalog)


def tuned(world, catalog, out, told=None, **settings):
    base, impressions = world
    told = [] if told is None else told
    config = PreferenceConfig(
        model=str(base),
        **{"max_tokens": 300, "learning_rate": 1e-2, "lora_rank": 4, "epochs": 2, "minutes": None, **settings},
    )
    return train_preferences(config, catalog, impressions, out, options=TrainOptions(progress=told.append))


@pytest.mark.parametrize("rank", [4, 0])
def test_what_was_clicked_becomes_likelier(world, catalog, tmp_path, rank):
    from transformers import AutoModelForCausalLM

    out, told = tmp_path / "m", []
    tuned(world, catalog, out, told, lora_rank=rank)
    assert read_record(out)["pairs"] == 24
    assert read_record(out)["steps"] == 12

    def lead(folder):
        settings = TitleConfig(model=str(folder), max_tokens=300, prior_weight=0)
        scorer = Title("title", settings, Reader.of(settings, catalog))
        scores = scorer.score(world[1].queries, np.tile(np.arange(8, dtype=np.int32), (24, 1)))
        return scores[:, 4:].mean() - scores[:, :4].mean()

    assert lead(out) > lead(world[0]) + 0.5
    assert AutoModelForCausalLM.from_pretrained(out).num_parameters() > 0
    assert (out / "adapter").exists() == bool(rank)
    assert any("loss" in line for line in told)
    before = (out / "model.safetensors").stat().st_mtime_ns
    tuned(world, catalog, out, told, lora_rank=rank)
    assert (out / "model.safetensors").stat().st_mtime_ns == before


def test_an_interrupted_training_goes_on(world, catalog, tmp_path):
    class StopError(Exception):
        pass

    class Told(list):
        def append(self, message):
            if message.startswith("preferences: step 8/"):
                raise StopError

    with pytest.raises(StopError):
        tuned(world, catalog, tmp_path / "a", Told())
    told = []
    for name in ("a", "b"):
        tuned(world, catalog, tmp_path / name, told)
    assert any("going on from step" in line for line in told)
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("a", "b"))
    for name, part in ours.items():
        np.testing.assert_allclose(part, theirs[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_the_model_to_start_from_is_not_written_over(world, catalog):
    with pytest.raises(ConfigError, match="holds the model that the training starts from"):
        tuned(world, catalog, world[0])
    assert (world[0] / "model.safetensors").is_file()


def test_four_bits_take_a_gpu(world, catalog, tmp_path):
    with pytest.raises(ConfigError, match="takes an NVIDIA GPU"):
        tuned(world, catalog, tmp_path / "m", quantised=True)
