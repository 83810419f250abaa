"""Answers as the document of the API shows them."""

from __future__ import annotations

from typing import Any

__all__ = [
    "ADDED",
    "ALIAS",
    "DEPLOYMENT",
    "EXPERIMENT",
    "EXPLANATION",
    "ITEM",
    "JOB",
    "LIST",
    "STATUS",
    "TRACE",
    "USER",
]

_BUNDLE = "9f86d081884c7d65"
_LISTED = {"item_id": "i2", "rank": 1, "score": 1.25, "propensity": None, "fields": {"title": "A quiet night"}}
ADDED: dict[str, Any] = {"event_ids": ["e-1"], "repeats": [False], "last_seq": 42}
ALIAS: dict[str, Any] = {
    "alias": "default",
    "bundle": _BUNDLE,
    "version": 3,
    "loaded": 1_760_000_000.0,
    "fitted": 1_759_990_000.0,
    "items": 1682,
    "users": 943,
    "stages": ["candidates", "reranked"],
    "policies": ["diversity"],
}
DEPLOYMENT: dict[str, Any] = {
    "seq": 2,
    "alias": "default",
    "path": "bundles/new",
    "bundle": _BUNDLE,
    "time": 1_760_000_000.0,
    "why": "reload",
}
EXPERIMENT: dict[str, Any] = {
    "name": "ranker-2",
    "variants": {"old": "default", "new": "other"},
    "weights": {"old": 0.5, "new": 0.5},
    "kind": "ab",
    "state": "running",
    "created": 1_760_000_000.0,
}
EXPLANATION: dict[str, Any] = {
    "item": "i2",
    "rank": 1,
    "score": 1.25,
    "candidates": 200,
    "reasons": [
        {"kind": "history", "item": "i1", "field": None, "rank_without": 14, "score_without": 0.7, "share": 0.8}
    ],
    "sentence": 'You chose "An evening".',
    "phrased": False,
}
ITEM: dict[str, Any] = {
    "item_id": "i1",
    "fields": {"title": "A quiet night", "year": 1999},
    "state": "active",
    "texts": {"dense": "A quiet night (1999)"},
    "trained": True,
}
JOB: dict[str, Any] = {
    "id": "job-example",
    "kind": "refit",
    "state": "running",
    "asked": {"alias": "default", "force": False},
    "progress": 0.4,
    "message": "fitting",
    "result": {},
    "created": 1_760_000_000.0,
    "updated": 1_760_000_060.0,
}
LIST: dict[str, Any] = {
    "items": [_LISTED],
    "impression_id": "imp-example",
    "alias": "default",
    "bundle": _BUNDLE,
    "experiment": None,
    "variant": None,
    "degraded": False,
    "left_out": [],
    "timings_ms": {"queue": 0.1, "candidates": 3.2, "total": 3.6},
}
STATUS: dict[str, Any] = {
    "ready": {"ok": True, "reasons": []},
    "started": 1_760_000_000.0,
    "aliases": [ALIAS],
    "engine": {
        "waiting": 0,
        "working": 1,
        "queue": 256,
        "answered": 1000,
        "refused": 0,
        "late": 0,
        "degraded": 0,
        "restarts": 0,
        "latency": {"p50": 3.1, "p95": 7.9, "p99": 12.0},
        "stages": {"candidates": 2.9},
    },
    "learner_lag": 0,
    "store_ok": True,
    "events": 42,
    "days": [],
    "coverage": {"default": 0.31},
    "drift": [],
}
TRACE: dict[str, Any] = {
    "alias": "default",
    "bundle": _BUNDLE,
    "stages": [
        {
            "name": "candidates",
            "found": 1,
            "kept": 1,
            "columns": ["popularity", "fused"],
            "candidates": [
                {
                    "item_id": "i2",
                    "title": "A quiet night",
                    "rank": 1,
                    "came_in": None,
                    "columns": {"popularity": 1.25, "fused": 1.25},
                    "source_ranks": {"popularity": 1},
                    "kept": True,
                    "dropped_by": None,
                }
            ],
        }
    ],
    "final": [_LISTED],
    "from_fallback": [],
    "excluded": 1,
    "history": ["i1"],
}
USER: dict[str, Any] = {
    "user_id": "u1",
    "known": True,
    "history": ["i1"],
    "profile": {"age": 30},
    "events": [],
    "dismissed": [],
}
