"""How much of a catalog a language model knew before: titles recited and completed, beside such with letters mixed.

    python scripts/bench/memorisation.py --json
    python scripts/bench/memorisation.py --dataset FOLDER --model HuggingFaceTB/SmolLM2-360M-Instruct

Draws titles of at least two words, and prints how many are recited and completed (`llmrec.evaluate.memorisation`) with
95% intervals over titles, by popularity too: head, mid and tail hold a third of the interactions each. Prints Markdown,
or JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import llmrec
from llmrec.config import Project
from llmrec.data import load_data
from llmrec.evaluate import memorisation
from llmrec.models import LanguageModel


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="ml-100k", help="a data set llmrec knows, or a folder")
    parser.add_argument(
        "--config", help="take the data of this configuration instead, such as docs/examples/courses/courses.toml"
    )
    parser.add_argument("--model", default="smollm2", help="a named model, a folder, or a hub id")
    parser.add_argument("--titles", type=int, default=500)
    parser.add_argument("--among", type=int, default=20, help="titles that are weighed against each other")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    found = measure(args)
    print(json.dumps(found) if args.json else markdown(found))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All of it, as JSON values."""
    data = load_data(Project.from_toml(args.config).data) if args.config else llmrec.load_dataset(args.dataset)
    model = LanguageModel.load(args.model)
    titles = data.catalog.table["title"].to_pylist()
    long = np.array([row for row, title in enumerate(titles) if len(str(title).split()) > 1], dtype=np.int32)
    rows = np.sort(np.random.default_rng(args.seed).permutation(long)[: args.titles])
    popularity = np.bincount(data.interactions.items, minlength=len(titles)).astype(np.int64)
    start = time.perf_counter()
    found = memorisation(model, data.catalog, rows, popularity=popularity, among=args.among, seed=args.seed)
    seconds = time.perf_counter() - start
    return {
        "dataset": Path(args.config or args.dataset).stem,
        "dtype": model.placement.dtype,
        "seconds": seconds,
        "tokens_read": model.usage.read,
        **found.to_dict(),
    }


def markdown(found: dict[str, Any]) -> str:
    """The figures of `measure` as text."""
    rows = [
        ("completed", found["titles"], found["completed"]),
        ("completed, letters mixed", found["titles"], found["completed_obfuscated"]),
        ("other rests beaten (chance: 50.0%)", found["titles"], found["beaten"]),
        ("more than by chance", found["titles"], found["beyond_chance"]),
        ("**more than with mixed letters**", found["titles"], found["known"]),
        ("**recited word by word**", found["titles"], found["recited"]),
        *(
            (f"{words}: {name}", group["titles"], group[key])
            for words, key in (("more than with mixed letters", "known"), ("recited", "recited"))
            for name, group in found["by_popularity"].items()
        ),
    ]
    return "\n".join(
        [
            f"{found['model']} ({found['dtype']}) on {found['titles']} titles of {found['dataset']}; a guess completes "
            f"{found['chance']:.1%}; {found['tokens_read']:,} tokens in {found['seconds']:.0f} s\n",
            "| | titles | share | 95% interval |",
            "|---|---|---|---|",
            *(f"| {name} | {n} | {v['mean']:.1%} | {v['low']:.1%} to {v['high']:.1%} |" for name, n, v in rows),
        ]
    )


if __name__ == "__main__":
    main()
