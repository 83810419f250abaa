#!/usr/bin/env python3
"""Tune a language model on what users took next: `scripts/train_language_model.py --dataset ml-100k --out models/lm`.

The same as `llmrec train language-model`, for who works in a checkout; `--help` lists the options.
"""

from __future__ import annotations

import sys

from llmrec.cli import main

if __name__ == "__main__":
    main(["train", "language-model", *sys.argv[1:]])
