import numpy as np
import pytest

from llmrec.data import InteractionColumns, Interactions
from llmrec.errors import DataError
from llmrec.retrieve import MultVaeConfig, fit_multvae
from llmrec.testing.data import new_items, tiny_catalog
from llmrec.types import Queries

SMALL = MultVaeConfig(hidden=8, latent=4, epochs=20, batch_size=8)
EVERY = np.arange(12, dtype=np.int32)


def _log(catalog, rows, weights=None):
    table = {"user_id": [f"u{u}" for u, _ in rows], "item_id": [f"i{i}" for _, i in rows]}
    if weights is not None:
        table["w"] = weights
    return Interactions.from_table(table, catalog, InteractionColumns(time=None, weight=weights and "w"))


def test_it_learns_which_items_go_together():
    """Two halves of the catalog that no user mixes."""
    catalog, rng = tiny_catalog(20), np.random.default_rng(0)
    log = _log(catalog, [(u, i + 10 * (u % 2)) for u in range(60) for i in rng.permutation(10)[:5]])
    model = fit_multvae(log, catalog, MultVaeConfig(hidden=16, latent=4, epochs=60, learning_rate=0.01))
    found = model.retrieve(Queries.from_lists([[1, 4, 2], [15, 11, 18]]), 8).items
    assert (found[0] < 10).all()
    assert (found[1] >= 10).all()


def test_scores_are_the_decoders_of_the_decayed_history(catalog, interactions):
    """The same sums in torch, as the paper's inference: the mean stands for the user."""
    import torch

    model = fit_multvae(interactions, catalog, SMALL.model_copy(update={"decay": 0.5}))
    layers = {name: torch.from_numpy(getattr(model.layers, name)) for name in model.layers.__slots__}
    history = torch.zeros(12)
    history[[4, 7, 2]] = torch.tensor([0.25, 0.5, 1.0])
    hidden = torch.tanh(history / history.norm() @ layers["read"] + layers["read_bias"])
    latent = hidden @ layers["mean"] + layers["mean_bias"]
    expected = torch.tanh(latent @ layers["open"] + layers["open_bias"]) @ layers["write"].T + layers["write_bias"]
    scores = model.score(Queries.from_lists([[4, 7, 2]]), EVERY[None])[0]
    np.testing.assert_allclose(scores, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_the_seed_decides(catalog, interactions):
    first, again, other = (fit_multvae(interactions, catalog, SMALL, seed=seed).layers.write for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other, rtol=0.01)


def test_no_evidence_without_interactions(catalog):
    model = fit_multvae(_log(catalog, [(u, i) for u in range(9) for i in (0, 1, u % 3)]), catalog, SMALL)
    grown = model.with_items(catalog.with_items(new_items(2)), EVERY[:0])
    scores = grown.score(Queries.from_lists([[0, 12], [12], [5], []]), np.tile(np.arange(14, dtype=np.int32), (4, 1)))
    np.testing.assert_array_equal(np.isnan(scores), [[False] * 3 + [True] * 11, *[[True] * 14] * 3])


def test_training_tells_of_its_progress(catalog, interactions):
    told = []
    fit_multvae(interactions, catalog, SMALL.model_copy(update={"kl": 0.0}), progress=told.append)
    losses = [float(message.rsplit(" ", 1)[1]) for message in told]
    assert len(told) == 10
    assert losses[-1] < losses[0]


def test_a_log_of_dislikes_is_an_error(catalog):
    with pytest.raises(DataError, match="no interaction has a positive weight"):
        fit_multvae(_log(catalog, [(0, 0), (0, 1)], weights=[-1.0, 0.0]), catalog, SMALL)
