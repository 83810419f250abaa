"""Learning from what users do: a little at once, as events come, and everything again, in a refit with a gate."""

from __future__ import annotations

from llmrec.serve.learn.gate import Gate
from llmrec.serve.learn.learner import Learner
from llmrec.serve.learn.refitting import Refitted, deploy, refit

__all__ = ["Gate", "Learner", "Refitted", "deploy", "refit"]
