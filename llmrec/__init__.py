"""Recommendations from text-described catalogs and interaction logs, with pretrained language models.

The public names load when they are first used, so that ``import llmrec`` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmrec.build import fit
    from llmrec.config import Config
    from llmrec.data import Catalog, Interactions, Users, leave_last_out, load_dataset
    from llmrec.opening import load
    from llmrec.pipeline import Recommender
    from llmrec.reasons import Explanation, Reason
    from llmrec.types import Item, Queries, Ranking, Recommendation

__version__ = "0.1.0"

__all__ = [
    "Catalog",
    "Config",
    "Explanation",
    "Interactions",
    "Item",
    "Queries",
    "Ranking",
    "Reason",
    "Recommendation",
    "Recommender",
    "Users",
    "fit",
    "leave_last_out",
    "load",
    "load_dataset",
]

_HOMES = {
    "Catalog": "llmrec.data",
    "Config": "llmrec.config",
    "Explanation": "llmrec.reasons",
    "Interactions": "llmrec.data",
    "Item": "llmrec.types",
    "Queries": "llmrec.types",
    "Ranking": "llmrec.types",
    "Reason": "llmrec.reasons",
    "Recommendation": "llmrec.types",
    "Recommender": "llmrec.pipeline",
    "Users": "llmrec.data",
    "fit": "llmrec.build",
    "leave_last_out": "llmrec.data",
    "load": "llmrec.opening",
    "load_dataset": "llmrec.data",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'llmrec' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
