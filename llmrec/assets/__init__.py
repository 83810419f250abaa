"""Named models and data sets: found, fetched and verified."""

from llmrec.assets.find import AssetStatus, describe_assets, find_asset
from llmrec.assets.hub import hub_offline
from llmrec.assets.registry import ASSETS, Asset
from llmrec.assets.storage import cache_dir, hash_file, install, is_stored, locked

__all__ = [
    "ASSETS",
    "Asset",
    "AssetStatus",
    "cache_dir",
    "describe_assets",
    "find_asset",
    "hash_file",
    "hub_offline",
    "install",
    "is_stored",
    "locked",
]
