"""Settings of tuning a causal language model on what users took next."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from llmrec.component import ComponentConfig

__all__ = ["LanguageModelConfig", "Task", "TuningConfig"]

Task = Literal["yes_no", "next_title", "listwise"]
"""What a model is taught to answer, by the scorer that will ask it."""


class TuningConfig(ComponentConfig):
    """Settings of any tuning of a causal language model.

    Attributes:
        model: the model to start from: a named model, a folder such as that of an earlier tuning, or a hub id.
        max_tokens: limit on a chat's length, the answer included; a scorer that uses the result wants the same.
        item_tokens: tokens kept for the item; the history gets the rest. None: as many as the scorer keeps unless told
            otherwise.
        epochs: passes over the cases.
        minutes: stop after so long, the learning rate falling accordingly; None: when the epochs are done. A run that
            is cut short depends on the speed of the machine.
        lora_rank: train low-rank adapters of this rank in every linear layer and merge them (Hu et al., LoRA, ICLR
            2022); 0: all weights, for which a learning rate of a tenth is right.
        quantised: keep the weights that the adapters are added to in 4 bits while training (Dettmers et al., QLoRA,
            NeurIPS 2023). Takes an NVIDIA GPU and the package bitsandbytes.
        save_memory: compute activations twice instead of keeping them (gradient checkpointing).
        learning_rate: the highest learning rate; it warms up over a twentieth, then falls linearly.
        weight_decay: of AdamW.
    """

    model: str = "smollm2"
    max_tokens: int = Field(default=256, ge=64)
    item_tokens: int | None = Field(default=None, ge=4)
    epochs: int = Field(default=1, gt=0)
    minutes: float | None = Field(default=40.0, gt=0)
    lora_rank: int = Field(default=8, ge=0)
    quantised: bool = False
    save_memory: bool = False
    learning_rate: float = Field(default=5e-4, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)

    @model_validator(mode="after")
    def _check_adapters(self) -> Self:
        if self.quantised and self.lora_rank == 0:
            raise ValueError("quantised weights are not trained themselves; set lora_rank to 8, or quantised to false")
        return self


class LanguageModelConfig(TuningConfig):
    """Settings of supervised tuning: a user at some moment, and what is the right answer.

    Attributes:
        task: "yes_no": would they take this item next, yes or no (Bao et al., "TALLRec", RecSys 2023); "next_title":
            the name of what they took; "listwise": the order of a list, what they took first and the others as they are
            shown. What is asked is, token by token, what the scorer `yes_no`, `title_likelihood` or `listwise` asks.
        template: a chat template; None: the scorer's own.
        yes: the answer that is for an item.
        no: the one against it.
        cases: how many moments are learned from, at most.
        per_user: only a user's last so many interactions are learned from.
        negatives: items beside the one taken that are asked about, for "yes_no", or shown, for "listwise": at most one
            less than `window`.
        window: candidates that are shown at once when a list is ranked, for "listwise".
        negatives_from: "first_stage": of what it ranks high and the user did not take, as they are what will be
            reranked; "popularity": as often as they are taken in the log.
        negative_depth: of the first stage, they are drawn from its best so many.
        answer_only: leave the end of an answer out of the loss; a model that is to say answers must learn it too.
        batch_tokens: tokens read per step; what the questions about one moment have in common counts once.
        list_length: in a check, so many of the best of the first stage are reranked.
        checks: how many times, evenly spaced, the reranking is measured and a checkpoint is written.
        check_users: validation users it is measured with, at most: of those whose list holds what they took.
        patience: stop after so many checks without a better one.
    """

    task: Task = "yes_no"
    template: str | None = None
    yes: str = Field(default="Yes", min_length=1)
    no: str = Field(default="No", min_length=1)
    cases: int = Field(default=1_600, gt=0)
    per_user: int = Field(default=20, gt=0)
    negatives: int = Field(default=4, gt=0)
    window: int = Field(default=10, ge=2, le=50)
    negatives_from: Literal["first_stage", "popularity"] = "first_stage"
    negative_depth: int = Field(default=50, gt=0)
    answer_only: bool = False
    batch_tokens: int = Field(default=1_024, ge=64)
    list_length: int = Field(default=20, ge=2)
    checks: int = Field(default=4, gt=0)
    check_users: int = Field(default=100, gt=0)
    patience: int = Field(default=2, gt=0)

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        if self.task == "listwise" and self.negatives >= self.window:
            raise ValueError(f"negatives={self.negatives} and what was taken do not fit into a window of {self.window}")
        return self
