"""Settings of a cross-encoder and its tuning."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from llmrec.component import ComponentConfig
from llmrec.rerank import user_budget

__all__ = ["CrossEncoderConfig"]


class CrossEncoderConfig(ComponentConfig):
    """Settings of a cross-encoder and its tuning.

    Attributes:
        base: the model to start from: a named model, a folder (such as that of a tuned encoder), or a hub id.
        layers: keep so many of its layers, evenly spaced, the last one among them; None: all. Fewer are faster.
        teacher: a tuned cross-encoder, by folder or hub id, whose scores are learned in the place of what was taken;
            it reads the same texts, so it should have been tuned on the same `template`. None: what was taken.
        shared_history: read a history once for all its candidates: its tokens do not look at a candidate's, these look
            at all. Several times as fast, in training too, and best with a history of many tokens; needs a BERT.
        template: a pair template.
        max_tokens: limit on a pair's length, special tokens included.
        item_tokens: tokens kept for the item.
        list_length: so many of the best of the stage before are put in order; best as many as its `keep`.
        cases: learn from at most so many lists.
        negatives: candidates that are scored beside what was taken, per list and step; drawn anew each epoch.
        residual: learn what is to be added to what the first stage's ranks say; otherwise what stands alone.
        epochs: passes over the lists.
        batch_size: lists per step.
        learning_rate: the highest; it warms up over the first twentieth, then falls linearly.
        head_learning_rate: the same for the weights that the base model does not bring along trained.
        weight_decay: of all weights.
        minutes: end the training after so many, those in which the teacher scores not counted; None: no limit.
        check_share: share of the lists that is not learned from, but measured with.
        checks: how often it is measured during the training.
        patience: end after so many checks without a better one.
        checkpoint_minutes: a killed run loses at most so much.
    """

    base: str = "minilm"
    layers: int | None = Field(default=None, ge=1)
    teacher: str | None = None
    shared_history: bool = False
    template: str = "pair/history"
    max_tokens: int = Field(default=48, ge=16)
    item_tokens: int = Field(default=18, ge=4)
    list_length: int = Field(default=20, ge=2)
    cases: int = Field(default=5_000, gt=0)
    negatives: int = Field(default=5, ge=1)
    residual: bool = True
    epochs: int = Field(default=2, gt=0)
    batch_size: int = Field(default=8, gt=0)
    learning_rate: float = Field(default=1e-4, gt=0)
    head_learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    minutes: float | None = Field(default=30.0, gt=0)
    check_share: float = Field(default=0.2, ge=0, lt=1)
    checks: int = Field(default=4, ge=1)
    patience: int = Field(default=3, ge=1)
    checkpoint_minutes: float = Field(default=5.0, gt=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if user_budget(self.max_tokens, self.item_tokens) < 1:
            raise ValueError(f"item_tokens leaves no room for the user within max_tokens of {self.max_tokens}")
        return self
