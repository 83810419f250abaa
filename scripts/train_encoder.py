#!/usr/bin/env python3
"""Tune a text encoder on what users took next: `python scripts/train_encoder.py --dataset ml-100k --out models/tuned`.

The same as `llmrec train encoder`, for who works in a checkout; `--help` lists the options.
"""

from __future__ import annotations

import sys

from llmrec.cli import main

if __name__ == "__main__":
    main(["train", "encoder", *sys.argv[1:]])
