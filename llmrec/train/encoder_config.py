"""Settings of a dense retriever whose encoder is tuned on behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from llmrec.component import silent
from llmrec.retrieve import DenseConfig

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EncoderConfig", "ReportTo", "TrainOptions"]

ReportTo = Literal["none", "tensorboard", "wandb"]
"""Where the loss and the checks go, beside the progress."""


class EncoderConfig(DenseConfig):
    """Settings of dense retrieval, and of how its encoder is tuned.

    A training pair is a user at some moment and the item taken next. What stands for the user is what the retriever
    will ask with: the recency-weighted mean of the vectors of the newest items, or, with `user_template`, a user text.

    Attributes:
        encoder: the model to start from: a named model, a folder, or a hub id.
        max_tokens: longer texts are cut, in training and afterwards.
        pairs: how many training pairs are drawn, at most.
        per_user: only a user's last so many interactions become positives.
        history: newest items of the history that the mean is made of; 1: pairs of an item and the next one. Every
            distinct item of a batch is encoded once. Without meaning where there is a `user_template`.
        epochs: passes over the pairs.
        minutes: stop after so long, the learning rate falling accordingly; None: when the epochs are done. A run that
            is cut short depends on the speed of the machine.
        batch_size: pairs per step. Every item of a batch is a negative of every other pair.
        chunk: texts that go through the encoder at once.
        cached: hold the activations of one chunk only, for batches of any size, at the price of encoding twice
            (GradCache: Gao et al., Scaling deep contrastive learning batch size under memory limited setup, 2021).
        temperature: cosines are divided by it.
        popularity_correction: how much of the logarithm of the chance to be in a batch is taken off an item's score:
            0: none, popular items are pushed away for being drawn often; 1: all of it (Yi et al.,
            Sampling-bias-corrected neural modeling for large corpus item recommendations, RecSys 2019).
        negatives: hard negatives per pair, of what `mined_by` ranks high and the user did not take.
        negative_depth: they are drawn from its best so many.
        mined_by: "encoder": the dense retriever as it is before the tuning; "ease".
        dims: train the first so many numbers of a vector to be a vector of their own (Kusupati et al., Matryoshka
            representation learning, NeurIPS 2022); empty: the whole vector only.
        lora_rank: train low-rank adapters of this rank and merge them (Hu et al., LoRA, ICLR 2022); 0: all weights.
        learning_rate: the highest learning rate; it warms up over a twentieth, then falls linearly. Adapters want ten
            times as much.
        weight_decay: of AdamW.
        checks: how many times, evenly spaced, the retriever is measured and a checkpoint is written.
        check_users: validation users it is measured with, at most.
        patience: stop after so many checks without a better one.
        pretrain_epochs: before all that, passes of masked language modelling over the item texts.
    """

    max_tokens: int = Field(default=32, ge=8)
    pairs: int = Field(default=20_000, gt=0)
    per_user: int = Field(default=20, gt=0)
    history: int = Field(default=5, gt=0)
    epochs: int = Field(default=1, gt=0)
    minutes: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=128, gt=1)
    chunk: int = Field(default=64, gt=0)
    cached: bool = False
    temperature: float = Field(default=0.05, gt=0)
    popularity_correction: float = Field(default=1.0, ge=0, le=1)
    negatives: int = Field(default=0, ge=0)
    negative_depth: int = Field(default=100, gt=0)
    mined_by: Literal["encoder", "ease"] = "encoder"
    dims: tuple[int, ...] = ()
    lora_rank: int = Field(default=0, ge=0)
    learning_rate: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    checks: int = Field(default=5, gt=0)
    check_users: int = Field(default=2_000, gt=0)
    patience: int = Field(default=2, gt=0)
    pretrain_epochs: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check_tuning(self) -> Self:
        if any(dim < 1 for dim in self.dims) or len(set(self.dims)) < len(self.dims):
            raise ValueError(f"dims must be distinct whole numbers of at least 1, got {list(self.dims)}")
        return self


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """How a training runs; nothing of what it makes depends on this but through `seed`.

    Attributes:
        seed: for every random choice.
        resume: go on from the last checkpoint of the same training, or return what is finished; otherwise begin anew.
        report_to: also write the loss and the checks for TensorBoard or Weights & Biases.
        progress: told the step, the loss, each check and the time left.
    """

    seed: int = 0
    resume: bool = True
    report_to: ReportTo = "none"
    progress: Callable[[str], None] = silent
