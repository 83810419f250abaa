"""Keep transformers from writing progress bars and load reports over the user's terminal."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet_transformers"]

# The settings below are the process's own, so two loads at once must not restore each other's.
_LOCK = threading.RLock()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' progress bars and warnings, and put the user's settings back afterwards."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars
    from transformers.utils import logging

    with _LOCK, warnings.catch_warnings():
        # The hub warns when an environment variable already decides about its bars.
        warnings.filterwarnings("ignore", message="Cannot (en|dis)able progress bars")
        verbosity, bars, no_hub_bars = (
            logging.get_verbosity(),
            logging.is_progress_bar_enabled(),
            are_progress_bars_disabled(),
        )
        logging.set_verbosity(logging.CRITICAL)
        if bars:
            logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()
                if no_hub_bars:
                    disable_progress_bars()
