"""Better settings for any pipeline: `tune` searches what a table [tune] names, on validation cases only."""

from llmrec.space import Choices, Range, Space
from llmrec.tune.search import HOLDOUTS, TuneOptions, check_space, tune
from llmrec.tune.trials import Trial, TuneResult

__all__ = ["HOLDOUTS", "Choices", "Range", "Space", "Trial", "TuneOptions", "TuneResult", "check_space", "tune"]
