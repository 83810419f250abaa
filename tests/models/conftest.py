import pytest
import torch

from llmrec.testing.models import tiny_bert, tiny_cross_encoder

WORDS = ("toy", "story", "heat", "babe", "seven", "monkeys")


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny models gain nothing from threads, and on a busy machine threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("models") / "tiny-bert", words=WORDS)


@pytest.fixture(scope="session")
def cross_folder(tmp_path_factory):
    return tiny_cross_encoder(tmp_path_factory.mktemp("models") / "tiny-cross", words=WORDS)


@pytest.fixture
def copied(tmp_path):
    """Copy files() of a model somewhere else, as a bundle does."""

    def copy(files):
        for name, path in files.items():
            target = tmp_path / "copy" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        return tmp_path / "copy"

    return copy
