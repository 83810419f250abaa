import pytest
import torch

from llmrec.train.checkpoint import (
    Checkpoint,
    optimizer_tensors,
    read_checkpoint,
    restore_optimizer,
    run_key,
    write_checkpoint,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "run.safetensors"


def trained(steps, optimizer=None, weight=None):
    weight = torch.nn.Parameter(torch.ones(3)) if weight is None else weight
    optimizer = optimizer or torch.optim.AdamW([weight], lr=0.1, fused=True)
    for step in range(steps):
        weight.grad = torch.tensor([1.0, step, -2.0])
        optimizer.step()
    return weight, optimizer


def test_a_checkpoint_comes_back(path):
    tensors = {"a": torch.arange(6.0).view(2, 3).T, "b": torch.tensor(3)}
    write_checkpoint(path, Checkpoint("k", {"step": 5, "name": "é"}, tensors))
    back = read_checkpoint(path, "k")
    assert back.facts == {"step": 5, "name": "é"}
    assert all(torch.equal(back.tensors[name], tensor) for name, tensor in tensors.items())
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_what_is_not_of_this_run_is_not_read(path):
    assert read_checkpoint(path, "k") is None
    write_checkpoint(path, Checkpoint("k", {}, {"a": torch.ones(2)}))
    assert read_checkpoint(path, "other") is None
    path.write_bytes(path.read_bytes()[:20])
    assert read_checkpoint(path, "k") is None


def test_a_kill_while_writing_leaves_the_one_before(path, monkeypatch):
    write_checkpoint(path, Checkpoint("k", {"step": 1}, {"a": torch.ones(2)}))

    def killed(tensors, target, metadata):
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.torch.save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(path, Checkpoint("k", {"step": 2}, {"a": torch.ones(2)}))
    assert read_checkpoint(path, "k").facts == {"step": 1}


def test_an_optimizer_goes_on_as_if_not_stopped(path):
    straight, _ = trained(5)
    weight, optimizer = trained(3)
    write_checkpoint(path, Checkpoint("k", {}, optimizer_tensors(optimizer)))
    value = torch.nn.Parameter(weight.detach().clone())
    fresh = torch.optim.AdamW([value], lr=0.1, fused=True)
    restore_optimizer(fresh, read_checkpoint(path, "k").tensors)
    for step in (3, 4):
        value.grad = torch.tensor([1.0, step, -2.0])
        fresh.step()
    assert torch.equal(value, straight)


def test_a_key_tells_runs_apart():
    assert run_key(a=1, b="x") == run_key(b="x", a=1)
    assert run_key(a=1, b="x") != run_key(a=1, b="y")
