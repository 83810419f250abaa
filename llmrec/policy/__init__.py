"""Policies: the final rules about what may be shown."""

from llmrec.policy.base import Policy
from llmrec.policy.seen import Seen, SeenConfig

__all__ = ["Policy", "Seen", "SeenConfig"]
