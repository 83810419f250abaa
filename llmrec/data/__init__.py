"""Catalogs, interaction logs, users, and the splits that keep them honest."""

from llmrec.data.catalog import Catalog
from llmrec.data.columns import InteractionColumns, usual_columns
from llmrec.data.config import DataConfig, LogColumns
from llmrec.data.datasets import Dataset, clean_data, load_data, load_dataset
from llmrec.data.interactions import Interactions, items_hash
from llmrec.data.leakage import check_leakage
from llmrec.data.report import CLASSES, CleaningReport, Example, Finding, PartReport
from llmrec.data.requests import check_count, check_items, check_list, check_lists
from llmrec.data.split_cold import hold_out_items, hold_out_users, is_cold
from llmrec.data.split_last import leave_last_out, without_last
from llmrec.data.split_names import SPLITS, split_by, split_parameters
from llmrec.data.split_time import split_by_time
from llmrec.data.splits import Holdout, Split, with_profiles
from llmrec.data.tables import read_table
from llmrec.data.users import Users
from llmrec.data.vocab import Vocab

__all__ = [
    "CLASSES",
    "SPLITS",
    "Catalog",
    "CleaningReport",
    "DataConfig",
    "Dataset",
    "Example",
    "Finding",
    "Holdout",
    "InteractionColumns",
    "Interactions",
    "LogColumns",
    "PartReport",
    "Split",
    "Users",
    "Vocab",
    "check_count",
    "check_items",
    "check_leakage",
    "check_list",
    "check_lists",
    "clean_data",
    "hold_out_items",
    "hold_out_users",
    "is_cold",
    "items_hash",
    "leave_last_out",
    "load_data",
    "load_dataset",
    "read_table",
    "split_by",
    "split_by_time",
    "split_parameters",
    "usual_columns",
    "with_profiles",
    "without_last",
]
