"""Settings of the service."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["EngineConfig", "LearnConfig", "LimitsConfig", "ServeConfig"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LimitsConfig(_Table):
    """What a request may ask for; more is refused before any work.

    Attributes:
        body_bytes: of any request but bulk files.
        k: items of an answer.
        history: items of a history that is given.
        ids: of `exclude`, `allow` and a filter's values, each.
        text_chars: of a wish, a search text, a field of an item.
        batch: events or items of one request.
        candidates: of a trace.
        per_minute: requests of a key that names no rate of its own.
    """

    body_bytes: int = Field(default=1_000_000, ge=1_000)
    k: int = Field(default=100, ge=1)
    history: int = Field(default=1_000, ge=1)
    ids: int = Field(default=10_000, ge=1)
    text_chars: int = Field(default=2_000, ge=1)
    batch: int = Field(default=1_000, ge=1)
    candidates: int = Field(default=200, ge=1)
    per_minute: int = Field(default=6_000, ge=1)


class EngineConfig(_Table):
    """How requests wait and are batched.

    Attributes:
        queue: requests that may wait; further ones are refused (429).
        batch: requests that are answered together at most.
        batch_tokens: padded tokens of their texts at most.
        deadline_ms: of a request that names none.
        longest_deadline_ms: a request may not name more.
        stuck_s: a worker that works longer on one batch is given up, and another started.
        degrade: whether a list may come without its later stages where these are slow or broken.
        drain_s: how long a stop waits for accepted requests.
    """

    queue: int = Field(default=256, ge=1)
    batch: int = Field(default=32, ge=1)
    batch_tokens: int = Field(default=4_096, ge=16)
    deadline_ms: int = Field(default=5_000, ge=1)
    longest_deadline_ms: int = Field(default=60_000, ge=1)
    stuck_s: float = Field(default=60.0, gt=0)
    degrade: bool = True
    drain_s: float = Field(default=30.0, ge=0)


class LearnConfig(_Table):
    """What is learned between fits.

    Attributes:
        incremental: whether popularity and neighbours learn from events as they come.
        every_s: they are brought up to date so often.
        kinds: weight of each kind of event in histories and in what is learned; a kind that is not named counts 0.
        recent: events of a user that are kept at hand for histories.
    """

    incremental: bool = True
    every_s: float = Field(default=1.0, gt=0)
    kinds: dict[str, float] = Field(
        default_factory=lambda: {"view": 1.0, "click": 1.0, "like": 1.0, "buy": 1.0, "rating": 1.0}
    )
    recent: int = Field(default=200, ge=1)


class ServeConfig(_Table):
    """Everything `llmrec serve` can be told.

    Attributes:
        bundles: alias to the bundle's folder; "default" must be among them.
        store: URL of the database; a path means SQLite.
        host: address to listen at.
        port: 0 takes a free one.
        page: whether the web page is there.
        limits: see `LimitsConfig`.
        engine: see `EngineConfig`.
        learn: see `LearnConfig`.
    """

    bundles: dict[str, Path]
    store: str = "llmrec-store.sqlite"
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65_535)
    page: bool = True
    limits: LimitsConfig = LimitsConfig()
    engine: EngineConfig = EngineConfig()
    learn: LearnConfig = LearnConfig()
