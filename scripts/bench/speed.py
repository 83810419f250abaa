"""Ours against the pipeline one writes without us: encode, rerank, retrieve, recommend. Same weights, same threads.

    python scripts/bench/speed.py games --data FOLDER
    python scripts/bench/speed.py ml-100k --rounds 3 --json

`_plain.py` is the peer: sentence-transformers, FAISS, a cross-encoder, at default settings (float32), and as a second
column the same with all weights in bfloat16. Each round asks every side the same, in an order that turns; a ratio is
of one round's times, and its median and range over rounds are printed. All run on the CPU with the same number of
threads, warmed up. Quality in the same run: NDCG@10 of text retrieval on validation, with each side's vectors.

Ours reranks with a cross-encoder that was tuned to read a history once for all candidates, on the same lists as the
plain one; and, beside it, with the plain one's weights. How many of the 10 best stay: for the first, of what
transformers makes of its weights, pair by pair in float32 under the same mask; for the second, of the plain reranker's.

The limit is what the machine's bfloat16 matrix product gives in the same run: the share of it counts useful work only
(of real tokens, no pads). Memory is the peak of a fresh process that answers one request (--memory).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _speed_sides import Ours, Task, read_task
from _speed_table import as_markdown
from numpy.typing import NDArray
from throughput import peak_gb

from llmrec.evaluate import sample_cases
from llmrec.models import set_threads
from llmrec.models._folder import read_config, read_layout
from llmrec.retrieve.quantised import text_ndcg

Times = dict[str, list[float]]
RETRIEVED, RERANKED, K = 500, 50, 10
CANDIDATES = 100
MATRIX = (4096, 384, 1536)
USERS = 20_000
"""At most so many validation cases for the quality of vectors."""


def main() -> None:
    """Measure, print."""
    args = _arguments()
    warnings.filterwarnings("ignore", category=FutureWarning)
    task = read_task(args)
    if args.memory:
        print(json.dumps({args.memory: _one_answer(task, args.memory)}))
        return
    found = measure(task, args)
    found["memory"] = {side: _memory(side) for side in ("ours", "plain")}
    print(json.dumps(found) if args.json else as_markdown(found))


def measure(task: Task, args: argparse.Namespace) -> dict[str, Any]:
    """All of it, as JSON values."""
    from _plain import Plain

    threads = set_threads()
    torch.set_num_threads(threads)
    ours = {dtype: Ours(task, dtype, retrieved=RETRIEVED, reranked=RERANKED) for dtype in ("int8", "bfloat16")}
    plain = {
        name: Plain(task.encoder, task.cross_encoder, task.pair_tokens, lowered=name != "plain")
        for name in ("plain", "plain bfloat16")
    }
    for side in plain.values():
        side.index_items(task.texts, ours["bfloat16"].dense.vectors)
    rng = np.random.default_rng(0)
    texts = [task.texts[row] for row in rng.permutation(len(task.texts))[: args.texts]]
    parts = {
        "encode": _encode(task, texts, ours, plain, args.rounds),
        "rerank": _rerank(task, ours["int8"], plain, args),
        "retrieve": _retrieve(task, ours["int8"], plain["plain"], args.rounds),
        "recommend": _recommend(task, ours["int8"], plain, args.rounds),
    }
    return {
        "ratios": {name: part["ratio"]["median"] for name, part in parts.items()},
        "threads": threads,
        "items": len(task.texts),
        **parts,
    }


def alternated(ways: Mapping[str, Callable[[int], Any]], rounds: int) -> Times:
    """Seconds of each way in each round; the order turns, and a round before warms up."""
    names, taken = list(ways), {name: [] for name in ways}
    for turn in range(-1, rounds):
        for place in range(len(names)):
            name = names[(place + turn) % len(names)]
            start = time.perf_counter()
            ways[name](max(turn, 0))
            if turn >= 0:
                taken[name].append(time.perf_counter() - start)
    return taken


def compared(taken: Times, ours: str, peer: str) -> dict[str, float]:
    """How many times as fast ours is: median and range of the rounds' ratios."""
    ratios = np.array(taken[peer]) / np.array(taken[ours])
    return {"median": float(np.median(ratios)), "least": float(ratios.min()), "most": float(ratios.max())}


def _encode(
    task: Task, texts: list[str], ours: Mapping[str, Ours], plain: Mapping[str, Any], rounds: int
) -> dict[str, Any]:
    ways: dict[str, Callable[[int], Any]] = {
        f"ours {dtype}": lambda _, s=s: s.encode(texts) for dtype, s in ours.items()
    }
    ways |= {name: lambda _, s=s: s.encode(texts) for name, s in plain.items()}
    a, w = (torch.randn(shape).bfloat16() for shape in (MATRIX[:2], (MATRIX[2], MATRIX[1])))
    ways["matrix product"] = lambda _: [torch.nn.functional.linear(a, w) for _ in range(20)]
    taken = alternated(ways, rounds)
    lengths = ours["int8"].encoder.count_tokens(texts) + 2
    rate = 20 * 2 * np.prod(MATRIX) / np.median(taken["matrix product"])
    work = flops(lengths, read_config(read_layout(task.encoder).transformer))
    quality = _quality(task, ours, plain["plain"])
    return {
        "texts": len(texts),
        "tokens_per_text": float(lengths.mean()),
        "texts_per_second": {
            name: len(texts) / float(np.median(s)) for name, s in taken.items() if s and "matrix" not in name
        },
        "tokens_per_second": {
            name: float(lengths.sum() / np.median(s)) for name, s in taken.items() if "matrix" not in name
        },
        "ratio": compared(taken, "ours int8", "plain"),
        "ratio_bfloat16": compared(taken, "ours bfloat16", "plain"),
        "ratio_to_plain_bfloat16": compared(taken, "ours int8", "plain bfloat16"),
        "matrix_product_flops": float(rate),
        "share_of_matrix_product": {
            name: float(work / np.median(taken[name]) / rate) for name in ("ours int8", "ours bfloat16", "plain")
        },
        "quality": quality,
    }


def flops(lengths: NDArray[np.integer[Any]], config: Mapping[str, Any]) -> float:
    """Useful floating-point operations of a BERT over sequences of these lengths: matrix products, attention."""
    dim, wide, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    tokens = lengths.astype(np.float64)
    return float(layers * (2 * (4 * dim * dim + 2 * dim * wide) * tokens + 4 * dim * tokens**2).sum())


def _quality(task: Task, ours: Mapping[str, Ours], plain: Any) -> dict[str, Any]:
    """NDCG@10 on validation of text retrieval by each side's vectors, and cosines to the plain ones."""
    exact = plain.encode(task.texts)
    cases = task.cases if len(task.cases) <= USERS else sample_cases(task.cases, USERS)
    items = np.arange(len(task.texts), dtype=np.int32)
    base = text_ndcg(exact, cases.queries, cases.targets, items)
    found: dict[str, Any] = {"cases": len(cases), "plain": float(base.mean())}
    for dtype, side in ours.items():
        values = text_ndcg(side.dense.vectors, cases.queries, cases.targets, items)
        cosines = (side.dense.vectors * exact).sum(axis=1)
        found[dtype] = {
            "ndcg": float(values.mean()),
            "loss": float(1 - values.mean() / base.mean()) if base.any() else 0.0,
            "difference_standard_error": float((values - base).std() / np.sqrt(len(values))),
            "cosine_mean": float(cosines.mean()),
            "cosine_min": float(cosines.min()),
        }
    return found


def _rerank(task: Task, ours: Ours, plain: Mapping[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """100 candidates of dense retrieval for a history of ten items, the same texts for all."""
    from _plain import masked_scores as masked

    asked = []
    for history in task.histories[: args.lists]:
        items = ours.retrieve(history, CANDIDATES)
        asked.append(("; ".join(task.texts[item] for item in reversed(history)), [task.texts[item] for item in items]))
    ways: dict[str, Callable[..., Any]] = {"ours": ours.rerank, "ours, pairs whole": ours.rerank_whole}
    ways |= {name: side.rerank for name, side in plain.items()}
    taken = alternated(
        {n: lambda turn, ask=ask: ask(*asked[turn % len(asked)]) for n, ask in ways.items()}, args.rounds
    )
    tokens = [ours.scorer.count_tokens([user])[0] + ours.scorer.count_tokens(items) + 3 for user, items in asked]
    scores = {name: [ask(*one) for one in asked] for name, ask in ways.items()}
    exact = [masked(task.shared, *one, task.pair_tokens) for one in asked]
    return {
        "candidates": CANDIDATES,
        "tokens_per_pair": float(np.minimum(np.concatenate(tokens), task.pair_tokens).mean()),
        "seconds": {name: float(np.median(s)) for name, s in taken.items()},
        "ratio": compared(taken, "ours", "plain"),
        "ratio_whole": compared(taken, "ours, pairs whole", "plain"),
        "ratio_to_plain_bfloat16": compared(taken, "ours", "plain bfloat16"),
        "top_10_lists": len(asked),
        "top_10_overlap": {name: overlap(scores[name], exact if name == "ours" else scores["plain"]) for name in ways},
    }


def overlap(scores: Sequence[Any], exact: Sequence[Any]) -> float:
    """How many of the 10 best, on average over lists, are the same."""
    best = [[set(np.argsort(-one)[:K]) for one in side] for side in (scores, exact)]
    return float(np.mean([len(a & b) / K for a, b in zip(*best, strict=True)]))


def _retrieve(task: Task, ours: Ours, plain: Any, rounds: int) -> dict[str, Any]:
    """The 500 nearest of one history after the other."""
    some = task.histories[:50]
    taken = alternated(
        {
            "ours": lambda _: [ours.retrieve(history, RETRIEVED) for history in some],
            "plain": lambda _: [plain.retrieve(history, RETRIEVED) for history in some],
        },
        rounds,
    )
    same = [len(set(ours.retrieve(h, RETRIEVED)) & set(plain.retrieve(h, RETRIEVED))) / RETRIEVED for h in some]
    return {
        "k": RETRIEVED,
        "milliseconds": {name: 1000 * float(np.median(s)) / len(some) for name, s in taken.items()},
        "ratio": compared(taken, "ours", "plain"),
        "overlap": float(np.mean(same)),
    }


def _recommend(task: Task, ours: Ours, plain: Mapping[str, Any], rounds: int) -> dict[str, Any]:
    """One user after the other: retrieve 500, rerank 50, 10 shown."""
    users = task.histories

    def way(ask: Callable[[list[int]], list[int]]) -> Callable[[int], Any]:
        return lambda turn: ask(users[turn % len(users)])

    ways = {"ours": way(lambda history: ours.recommend(history, K))}
    for name, side in plain.items():
        ways[name] = way(lambda history, s=side: s.recommend(history, K, RETRIEVED, RERANKED))
    taken = alternated(ways, 2 * rounds)
    alone = alternated({"ours": lambda turn: ours.recommend(users[turn % len(users)], K)}, 20 * rounds)["ours"]
    return {
        "seconds": {name: float(np.median(s)) for name, s in taken.items()},
        "ratio": compared(taken, "ours", "plain"),
        "ratio_to_plain_bfloat16": compared(taken, "ours", "plain bfloat16"),
        "p50_milliseconds": 1000 * float(np.percentile(alone, 50)),
        "p95_milliseconds": 1000 * float(np.percentile(alone, 95)),
    }


def _one_answer(task: Task, side: str) -> float:
    """Peak resident bytes of this process after one answer."""
    if side == "ours":
        Ours(task, "int8", retrieved=RETRIEVED, reranked=RERANKED).recommend(task.histories[0], K)
    else:
        from _plain import Plain

        plain = Plain(task.encoder, task.cross_encoder, task.pair_tokens, lowered=False)
        plain.index_items(task.texts, plain.encode(task.texts))
        plain.recommend(task.histories[0], K, RETRIEVED, RERANKED)
    return 1e9 * peak_gb()


def _memory(side: str) -> float:
    """The same of a fresh process."""
    command = [sys.executable, __file__, *sys.argv[1:], "--memory", side]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])[side])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="a data set llmrec knows by name, or what to call --data")
    parser.add_argument("--data", help="the data set's folder")
    parser.add_argument("--encoder", default="minilm", help="a named model, a folder, or a hub id")
    parser.add_argument("--cross-encoder", type=Path, help="its folder; without it, one is tuned for some minutes")
    parser.add_argument("--shared", type=Path, help="the same for one that reads a history once")
    parser.add_argument("--pair-tokens", type=int, default=160, help="tokens of a pair that are read")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--lists", type=int, default=30, help="lists that say how many of the 10 best stay")
    parser.add_argument("--texts", type=int, default=3000, help="texts to encode in a round")
    parser.add_argument("--work", type=Path, default=Path("runs/speed"), help="keeps the tuned cross-encoder")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--memory", choices=["ours", "plain"], help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
