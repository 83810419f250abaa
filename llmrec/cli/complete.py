"""Values a shell can complete, found without loading anything heavy."""

from __future__ import annotations

__all__ = ["complete_assets", "complete_datasets", "complete_templates"]


def complete_datasets(typed: str) -> list[str]:
    """Names of data sets that begin so; a shell completes folders by itself."""
    return _assets("dataset", typed)


def complete_assets(typed: str) -> list[str]:
    """Names of models and data sets that begin so."""
    return _assets("", typed)


def complete_templates(typed: str) -> list[str]:
    """Names of prompt templates that begin so, such as "item/titles"."""
    from llmrec.text import list_templates

    return [template.name for template in list_templates() if template.name.startswith(typed)]


def _assets(kind: str, typed: str) -> list[str]:
    from llmrec.assets.registry import ASSETS

    return [name for name, asset in ASSETS.items() if name.startswith(typed) and kind in ("", asset.kind)]
