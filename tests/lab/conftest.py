"""A judge that answers at once, and data to judge on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from llmrec.data import Holdout
from llmrec.lab import Ground, Measured, Store
from llmrec.testing.data import tiny_catalog, tiny_interactions
from llmrec.text import Template, load_template


@dataclass(eq=False)
class Fake:
    """Gives each template the ranks it is told, and counts how often it was asked.

    Attributes:
        cases: who is asked.
        ranks: by template name.
        asked: names of the templates measured.
    """

    cases: Holdout
    ranks: dict[str, np.ndarray]
    asked: list[str] = field(default_factory=list)
    name: str = "fake"
    note: str = "a fake"
    reads_together: bool = False

    def prompts(self, template: Template) -> tuple[Template, ...]:
        return (template,)

    def about(self):
        return {"judge": self.name, "model": "none", "cases": self.cases.fingerprint}

    def measure(self, template: Template) -> Measured:
        self.asked.append(template.name)
        return Measured(self.ranks[template.name].astype(np.float64), {"item": 3.0}, 1.5, 2.0)


@pytest.fixture(scope="session")
def ground():
    catalog = tiny_catalog(30)
    return Ground.of(catalog, tiny_interactions(1, catalog, n_users=120))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "lab.sqlite")


@pytest.fixture
def templates():
    return [load_template(name) for name in ("user/recent", "user/genres", "user/sentence")]


@pytest.fixture
def fake(ground, templates):
    """The second template is far better than the first, the third as good as it but for a few users."""
    rng = np.random.default_rng(0)
    n = len(ground.cases)
    base = rng.integers(5, 40, n).astype(np.float64)
    near = base + rng.choice([-1, 0, 0, 0, 1], n)
    found = {"user/recent": base, "user/genres": np.maximum(1, base - 15), "user/sentence": near}
    return Fake(ground.cases, found)
