"""Prompt templates, and items and users written as text under a token budget."""

from __future__ import annotations

from llmrec.text._bounds import bounded_rendering
from llmrec.text.library import list_templates, load_template
from llmrec.text.render import (
    RenderedUsers,
    TokenCounter,
    render_evidence,
    render_items,
    render_question,
    render_system,
    render_users,
)
from llmrec.text.template import Field, Template
from llmrec.text.vocabulary import (
    UnknownCounter,
    UnknownTokensWarning,
    VocabularyReport,
    check_vocabulary,
    warn_unknown,
)

__all__ = [
    "Field",
    "RenderedUsers",
    "Template",
    "TokenCounter",
    "UnknownCounter",
    "UnknownTokensWarning",
    "VocabularyReport",
    "bounded_rendering",
    "check_vocabulary",
    "list_templates",
    "load_template",
    "render_evidence",
    "render_items",
    "render_question",
    "render_system",
    "render_users",
    "warn_unknown",
]
