"""Policies: the final rules about what may be shown.

They finish lists in the order in which they are configured. An order that makes sense: what keeps items out (`seen`,
`availability`), then what moves them (`boost`, `freshness`, `diversity`), then what limits the list (`caps`), then
`exploration`, for its propensities are those of the place where it put an item, and `pin` last, for nothing after it
moves what it put in place. An order that makes propensities wrong is refused, see `check_order`.
"""

from llmrec.policy.availability import Availability, AvailabilityConfig
from llmrec.policy.base import Inserts, Policy, TakesOut
from llmrec.policy.boost import Boost, BoostConfig
from llmrec.policy.caps import Caps, CapsConfig
from llmrec.policy.chain import check_order, finish
from llmrec.policy.diversity import Diversity, DiversityConfig
from llmrec.policy.exploration import Exploration, ExplorationConfig
from llmrec.policy.freshness import Freshness, FreshnessConfig
from llmrec.policy.pin import Pin, PinConfig
from llmrec.policy.seen import Seen, SeenConfig

__all__ = [
    "Availability",
    "AvailabilityConfig",
    "Boost",
    "BoostConfig",
    "Caps",
    "CapsConfig",
    "Diversity",
    "DiversityConfig",
    "Exploration",
    "ExplorationConfig",
    "Freshness",
    "FreshnessConfig",
    "Inserts",
    "Pin",
    "PinConfig",
    "Policy",
    "Seen",
    "SeenConfig",
    "TakesOut",
    "check_order",
    "finish",
]
