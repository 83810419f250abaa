"""What `speed.py` found, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["as_markdown"]


def as_markdown(found: Mapping[str, Any]) -> str:
    """A table, and what is beside it in words."""
    encode, rerank, retrieve, recommend = (found[name] for name in ("encode", "rerank", "retrieve", "recommend"))
    speeds, quality = encode["texts_per_second"], encode["quality"]
    rows = [
        ("encode, texts/s", speeds["ours int8"], speeds["plain"], speeds["plain bfloat16"], encode["ratio"]),
        ("encode in bfloat16, texts/s", speeds["ours bfloat16"], speeds["plain"], None, encode["ratio_bfloat16"]),
        (f"rerank {rerank['candidates']}, s", *_three(rerank["seconds"]), rerank["ratio"]),
        ("the same, pairs read whole, s", *_three(rerank["seconds"], "ours, pairs whole"), rerank["ratio_whole"]),
        ("retrieve 500, ms", *_three(retrieve["milliseconds"]), retrieve["ratio"]),
        ("recommend (500 > 50 > 10), s", *_three(recommend["seconds"]), recommend["ratio"]),
    ]
    lines = ["| | ours | plain | plain in bfloat16 | times as fast (range) |", "|---|---|---|---|---|"]
    for name, ours, plain, lowered, ratio in rows:
        spread = f"{ratio['median']:.1f} ({ratio['least']:.1f} to {ratio['most']:.1f})"
        lines.append(f"| {name} | {_short(ours)} | {_short(plain)} | {_short(lowered)} | {spread} |")
    shares = ", ".join(f"{name} {share:.0%}" for name, share in encode["share_of_matrix_product"].items())
    int8, bf16, overlaps = quality["int8"], quality["bfloat16"], rerank["top_10_overlap"]
    lines += [
        "",
        f"{found['items']:,} items, {found['threads']} threads; {encode['tokens_per_text']:.1f} tokens a text, "
        f"{rerank['tokens_per_pair']:.0f} a pair with a history of ten.",
        f"The machine's bfloat16 matrix product: {encode['matrix_product_flops'] / 1e9:.0f} GFLOP/s; of it as useful "
        f"work: {shares}.",
        f"NDCG@10 of text alone on {quality['cases']:,} validation users: plain {quality['plain']:.4f}, int8 "
        f"{int8['ndcg']:.4f} ({-int8['loss']:+.1%}, cosine {int8['cosine_mean']:.4f}), bfloat16 {bf16['ndcg']:.4f} "
        f"({-bf16['loss']:+.1%}).",
        "Reranking reads a history once for all candidates, by a model tuned to it on the same lists as the plain one. "
        f"Of the 10 best of its weights in float32, pair by pair, {overlaps['ours']:.0%} are ours; of the plain "
        f"reranker's, pairs read whole, {overlaps['ours, pairs whole']:.0%} (bfloat16 in one line: "
        f"{overlaps['plain bfloat16']:.0%}); over {rerank['top_10_lists']} lists.",
        f"One `recommend`: p50 {recommend['p50_milliseconds']:.0f} ms, p95 {recommend['p95_milliseconds']:.0f} ms.",
        f"Peak memory: ours {found['memory']['ours'] / 1e9:.2f} GB, plain {found['memory']['plain'] / 1e9:.2f} GB.",
    ]
    return "\n".join(lines)


def _three(values: Mapping[str, float], ours: str = "ours") -> tuple[float, float, float | None]:
    return values[ours], values["plain"], values.get("plain bfloat16")


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
