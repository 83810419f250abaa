"""What a training writes beside its model: only what one wrote before is cleared, never the model to start from."""

import json

import pytest

from llmrec.errors import ConfigError
from llmrec.train.record import check_apart, open_record


@pytest.mark.parametrize(
    "text",
    [
        "{broken",
        "[]",
        '"key"',
        "{}",
        '{"epochs": 3}',
        '{"key": "other"}',
        '{"key": 5, "finished": true}',
        '{"key": "a", "finished": "yes"}',
    ],
)
@pytest.mark.parametrize("resume", [True, False])
def test_a_record_of_another_tool_is_left_alone(tmp_path, text, resume):
    (tmp_path / "training.json").write_text(text)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"its training\.json is not one that llmrec wrote; choose another folder"):
        open_record(tmp_path, "key", resume)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert (tmp_path / "training.json").read_text() == text


def test_a_training_goes_on_or_gives_way_to_another(tmp_path):
    out = tmp_path / "m"
    assert open_record(out, "one", resume=True) == {"key": "one", "finished": False}
    (out / "weights").write_text("weights")
    assert open_record(out, "one", resume=True) == {"key": "one", "finished": False}
    assert (out / "weights").exists()
    open_record(out, "two", resume=True)
    assert [path.name for path in out.iterdir()] == ["training.json"]
    assert json.loads((out / "training.json").read_text())["key"] == "two"


def test_a_model_is_not_written_over_while_another_starts_from_it(tmp_path):
    base = tmp_path / "models" / "base"
    base.mkdir(parents=True)
    (tmp_path / "link").symlink_to(base)
    for out in (base, base.parent, tmp_path, base / ".." / "base", tmp_path / "link"):
        with pytest.raises(ConfigError, match="holds the model that the training starts from"):
            check_apart(out, base)
    check_apart(base.parent / "other", base)
    check_apart(base / "tuned", base)
