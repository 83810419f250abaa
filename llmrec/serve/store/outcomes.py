"""What became of the lists of an experiment, unit by unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one unit of an experiment saw in one variant, and did.

    A unit is a user, somebody without an id who is told from others (`Impression.unit`), or else a single list. An item
    that was clicked twice in one list counts once.

    Attributes:
        user_id: or the unit of somebody without an id; None: a single list that was handed to nobody known.
        variant: the variant of the lists; "" where they name none.
        impressions: lists.
        clicks: items of these lists that were clicked ("click").
        conversions: items of these lists that were bought ("buy").
        source_clicks: of interleaved lists, clicks by the variant that the item came from; empty otherwise.
        first: time of the first of these lists, in seconds since the epoch.
    """

    user_id: str | None
    variant: str
    impressions: int
    clicks: int
    conversions: int
    source_clicks: Mapping[str, int] = field(default_factory=dict)
    first: float = 0.0
