"""Recommenders as they are now: bundles that were loaded, with every item and every lesson that came since."""

from llmrec.serve.live.changes import CaughtUp, with_stored_items
from llmrec.serve.live.erased import holds_user, without_users
from llmrec.serve.live.models import Models
from llmrec.serve.live.past import UserPast, units_per_second, user_query
from llmrec.serve.live.snapshot import Snapshot, bundle_version
from llmrec.serve.live.told import told

__all__ = [
    "CaughtUp",
    "Models",
    "Snapshot",
    "UserPast",
    "bundle_version",
    "holds_user",
    "told",
    "units_per_second",
    "user_query",
    "with_stored_items",
    "without_users",
]
