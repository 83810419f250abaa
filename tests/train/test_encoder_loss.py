"""The loss of encoder tuning against sums written out by hand, and its gradients in every way of computing it."""

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from llmrec.models import quiet_transformers
from llmrec.train.encoder_loss import InBatchLoss, in_batch_softmax

B, C, DIM = 5, 7, 6


def unit(array):
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


@pytest.fixture
def parts(rng):
    hidden = rng.random((B, C)) < 0.4
    positives = rng.integers(0, C, B)
    hidden[np.arange(B), positives] = False
    return {
        "anchors": unit(rng.normal(size=(B, DIM))),
        "candidates": unit(rng.normal(size=(C, DIM))),
        "positives": positives,
        "hidden": hidden,
        "corrections": np.log(rng.uniform(0.01, 1, C)),
    }


def by_hand(parts, temperature):
    """-log of the positive's share of the weights exp(cos / t) / chance, pair by pair, item by item."""
    total = 0.0
    for row in range(B):
        weights = []
        for item in range(C):
            cosine = float(parts["anchors"][row] @ parts["candidates"][item])
            chance = np.exp(parts["corrections"][item])
            weights.append(0.0 if parts["hidden"][row, item] else np.exp(cosine / temperature) / chance)
        total -= np.log(weights[parts["positives"][row]] / sum(weights))
    return total / B


def tensors(parts):
    return [torch.from_numpy(part) for part in parts.values()]


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_equals_the_sum_by_hand(parts, temperature):
    loss = in_batch_softmax(*tensors(parts), temperature)
    assert loss.item() == pytest.approx(by_hand(parts, temperature), rel=1e-9)


def test_hidden_items_neither_count_nor_learn(parts):
    arrays = tensors(parts)
    arrays[1].requires_grad_()
    in_batch_softmax(*arrays, 0.1).backward()
    parts["hidden"][:, 3] = True
    parts["positives"][parts["positives"] == 3] = 4
    parts["hidden"][np.arange(B), parts["positives"]] = False
    arrays = tensors(parts)
    arrays[1].requires_grad_()
    loss = in_batch_softmax(*arrays, 0.1)
    loss.backward()
    assert arrays[1].grad[3].abs().max() == 0
    assert arrays[1].grad[4].abs().max() > 0
    moved = dict(parts, candidates=np.where(np.arange(C)[:, None] == 3, -parts["candidates"], parts["candidates"]))
    assert in_batch_softmax(*tensors(moved), 0.1).item() == pytest.approx(loss.item())


def test_a_rarely_drawn_item_weighs_more_in_the_denominator(parts):
    parts["hidden"][:] = False
    parts["positives"][:] = 0
    plain = in_batch_softmax(*tensors(parts), 0.1).item()
    parts["corrections"][1] -= 2
    assert in_batch_softmax(*tensors(parts), 0.1).item() > plain


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from llmrec.testing.models import tiny_bert

    with quiet_transformers():
        found = SentenceTransformer(
            str(tiny_bert(tmp_path_factory.mktemp("bert"))), device="cpu", local_files_only=True
        )
    return found.eval()  # without dropout, so that every way of computing it has one answer


TEXTS = ["star", "red night", "blue river 7", "zoo and garden", "a much longer title than all of the others"]
LABELS = {
    "order": torch.tensor([4, 0, 1, 2, 3]),
    "anchors": torch.tensor([[3, 4], [0, 0], [1, 4]]),
    "weights": torch.tensor([[1.0, 0.8], [1.0, 0.0], [1.0, 0.5]]),
    "positives": torch.tensor([0, 1, 2]),
    "hidden": torch.tensor([[False, True, False], [False, False, False], [False, True, False]]),
    "log_chances": torch.log(torch.tensor([0.3, 0.9, 0.2])),
}


def gradients(model, **settings):
    """The loss, and what it does to the weights."""
    model.zero_grad()
    settings = {"chunk": 64, "cached": False, "temperature": 0.1, "correction": 1.0, "dims": (), **settings}
    loss = InBatchLoss(model, **settings)([model.preprocess(TEXTS)], LABELS)
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_the_module_takes_texts_as_the_labels_say(model):
    vectors = model.encode(TEXTS, normalize_embeddings=True)[LABELS["order"].numpy()]
    anchors = unit((vectors[LABELS["anchors"].numpy()] * LABELS["weights"].numpy()[..., None]).sum(axis=1))
    rest = (LABELS["positives"], LABELS["hidden"], LABELS["log_chances"], 0.1)
    expected = in_batch_softmax(torch.from_numpy(anchors), torch.from_numpy(vectors[:3]), *rest)
    assert gradients(model)[0] == pytest.approx(expected.item(), rel=1e-4)
    uncorrected = in_batch_softmax(
        torch.from_numpy(anchors), torch.from_numpy(vectors[:3]), rest[0], rest[1], 0 * rest[2], 0.1
    )
    assert gradients(model, correction=0.0)[0] == pytest.approx(uncorrected.item(), rel=1e-4)
    assert expected.item() != pytest.approx(uncorrected.item(), rel=1e-2)


@pytest.mark.parametrize("settings", [{"chunk": 2}, {"chunk": 2, "cached": True}, {"cached": True}])
@pytest.mark.parametrize("dims", [(), (32, 8)])
def test_chunks_and_the_gradient_cache_change_nothing(model, settings, dims):
    loss, plain = gradients(model, dims=dims)
    other, found = gradients(model, dims=dims, **settings)
    assert other == pytest.approx(loss, rel=1e-5)
    assert found.keys() == plain.keys()
    assert len(plain) > 20
    for name, gradient in plain.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-6)


def test_the_first_numbers_are_trained_to_stand_alone(model):
    parts = [gradients(model, dims=(dim,))[0] for dim in (32, 16, 8)]
    assert gradients(model, dims=(32, 16, 8))[0] == pytest.approx(np.mean(parts), rel=1e-5)
    assert parts[0] == pytest.approx(gradients(model)[0], rel=1e-5)
    assert parts[2] != pytest.approx(parts[0], rel=1e-3)
