"""Catalogs, interaction logs, users, and the splits that keep them honest."""

from llmrec.data.catalog import Catalog
from llmrec.data.datasets import Dataset, load_dataset
from llmrec.data.interactions import InteractionColumns, Interactions, usual_columns
from llmrec.data.requests import check_count, check_items, check_list, check_lists
from llmrec.data.splits import Holdout, Split, check_leakage, leave_last_out, without_last
from llmrec.data.tables import read_table
from llmrec.data.users import Users
from llmrec.data.vocab import Vocab

__all__ = [
    "Catalog",
    "Dataset",
    "Holdout",
    "InteractionColumns",
    "Interactions",
    "Split",
    "Users",
    "Vocab",
    "check_count",
    "check_items",
    "check_leakage",
    "check_list",
    "check_lists",
    "leave_last_out",
    "load_dataset",
    "read_table",
    "usual_columns",
    "without_last",
]
