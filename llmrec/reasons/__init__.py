"""Why items are recommended: counterfactual evidence, and sentences that say it."""

from llmrec.reasons.explain import Asked, Cascade, explain
from llmrec.reasons.explanation import Explanation, Reason
from llmrec.reasons.fixed import FixedCandidates

__all__ = ["Asked", "Cascade", "Explanation", "FixedCandidates", "Reason", "explain"]
