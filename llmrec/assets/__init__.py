"""Named models and data sets: found, fetched and verified."""

from llmrec.assets.find import AssetStatus, describe_assets, find_asset
from llmrec.assets.hub import hub_offline
from llmrec.assets.registry import ASSETS, Asset
from llmrec.assets.storage import cache_dir

__all__ = ["ASSETS", "Asset", "AssetStatus", "cache_dir", "describe_assets", "find_asset", "hub_offline"]
