"""Opening a saved recommender: its files are verified while the libraries that it needs are imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmrec.bundle import open_bundle

if TYPE_CHECKING:
    from llmrec.pipeline import Recommender

__all__ = ["load"]


def load(path: str | Path) -> Recommender:
    """Load a recommender from a bundle; see `Recommender.load`."""
    opened = open_bundle(Path(path))
    from llmrec.pipeline import Recommender  # takes about as long as it takes to verify a gigabyte

    return Recommender.of_bundle(opened)
