"""Measure how fast this machine encodes in each number format."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from llmrec.errors import ModelError
from llmrec.models.device import Placement
from llmrec.models.encoder import TextEncoder
from llmrec.models.speeds import FLOATING, remember_speeds

__all__ = ["measure_speeds"]

TEXTS = 600
ROUNDS = 3
WORDS = ("the", "old", "river", "story", "of", "two", "cities", "vol.", "3", "wireless", "kitchen", "lamp", "deluxe")


def measure_speeds(encoder: str = "minilm", progress: Callable[[str], None] = lambda _: None) -> dict[str, float]:
    """Encode made-up titles on the CPU in each number format, and remember how fast that was.

    From then on, models on this machine run in the faster of float32 and bfloat16, unless told otherwise. int8 is
    measured where OpenVINO is installed, but never chosen without being asked for.

    Args:
        encoder: a named model, a folder, or a hub id.
        progress: told what is being measured.

    Returns:
        Texts a second, by number format.

    Raises:
        AssetError: the model cannot be found.
    """
    texts = _titles()
    ready = {}
    for dtype in (*FLOATING, *(["int8"] if find_spec("openvino") and find_spec("nncf") else [])):
        progress(f"measuring {dtype}")
        try:
            model = TextEncoder.load(encoder, placement=Placement("cpu", dtype)).calibrated(texts)
            model.encode(texts[:50])
        except ModelError as error:  # such as OpenVINO without what it needs here
            progress(f"{dtype} cannot be measured: {error}")
            continue
        ready[dtype] = model
    best = dict.fromkeys(ready, np.inf)
    for _ in range(ROUNDS):  # in turns, so that a busy moment does not hit one alone
        for dtype, model in ready.items():
            start = time.perf_counter()
            model.encode(texts)
            best[dtype] = min(best[dtype], time.perf_counter() - start)
    found = {dtype: round(len(texts) / seconds, 1) for dtype, seconds in best.items()}
    remember_speeds(found)
    return found


def _titles() -> list[str]:
    """Titles of 2 to 20 words, always the same."""
    rng = np.random.default_rng(0)
    return [f"{' '.join(rng.choice(WORDS, rng.integers(2, 20)))} {row}" for row in range(TEXTS)]
