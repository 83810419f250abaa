"""One request as a query, for what the engine's batches are not made for: explaining and tracing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrec.serve.asked import Asked

if TYPE_CHECKING:
    from llmrec.pipeline import Recommender
    from llmrec.serve.live import Models, Snapshot
    from llmrec.types import Queries

__all__ = ["query_of"]


def query_of(snapshot: Snapshot, models: Models, asked: Asked) -> tuple[Recommender, Queries]:
    """Return the recommender that answers a request, and the request as a batch of one query.

    Args:
        snapshot: the pipeline.
        models: know what users did.
        asked: of kind "recommend".

    Raises:
        Unprocessable: an item is unknown, or a filter or the diversity does not fit this pipeline.
        Unavailable: the store does not answer.
    """
    from llmrec.serve.engine import read_request, together
    from llmrec.serve.engine.cascade import as_diverse, check_asked
    from llmrec.serve.engine.filters import allowed

    check_asked(snapshot, asked)
    past = None if asked.user_id is None else models.past(snapshot, asked.user_id)
    row = read_request(snapshot, asked, past)
    free = asked.allow is None and not asked.filters
    mask = None if free else allowed(snapshot.recommender.catalog, asked.allow, asked.filters)
    return as_diverse(snapshot.recommender, asked.diversity), together([row], mask)
