"""The prompt lab: which template is better, by how much, and whether that is real."""

from __future__ import annotations

from llmrec.lab.adapt import as_chat, as_item_and_user, as_pair
from llmrec.lab.checks import Check, check_template
from llmrec.lab.compare import METRICS, Compared, Judged, Lab, Spread, compare_templates
from llmrec.lab.diff import Pair, check_alike, rendered_pairs, source_diff
from llmrec.lab.ground import FirstStage, Ground, Shortlists, first_stage, halves, shortlists
from llmrec.lab.judges import CrossEncoderJudge, Judge, LanguageJudge, Measured, RetrieverJudge
from llmrec.lab.orders import OrderTest, order_test
from llmrec.lab.report import check_page, write_page
from llmrec.lab.scoring import chat_room
from llmrec.lab.search import Searched, Trial, search_template
from llmrec.lab.setup import JUDGES, Setup, Wanted, usual_judges
from llmrec.lab.store import Run, Store, default_store
from llmrec.lab.words import compared_to_dict, difference_rows, remarks, score_rows, verdict, verdict_of
from llmrec.lab.write import KINDS, new_template, template_toml, write_new

__all__ = [
    "JUDGES",
    "KINDS",
    "METRICS",
    "Check",
    "Compared",
    "CrossEncoderJudge",
    "FirstStage",
    "Ground",
    "Judge",
    "Judged",
    "Lab",
    "LanguageJudge",
    "Measured",
    "OrderTest",
    "Pair",
    "RetrieverJudge",
    "Run",
    "Searched",
    "Setup",
    "Shortlists",
    "Spread",
    "Store",
    "Trial",
    "Wanted",
    "as_chat",
    "as_item_and_user",
    "as_pair",
    "chat_room",
    "check_alike",
    "check_page",
    "check_template",
    "compare_templates",
    "compared_to_dict",
    "default_store",
    "difference_rows",
    "first_stage",
    "halves",
    "new_template",
    "order_test",
    "remarks",
    "rendered_pairs",
    "score_rows",
    "search_template",
    "shortlists",
    "source_diff",
    "template_toml",
    "usual_judges",
    "verdict",
    "verdict_of",
    "write_new",
    "write_page",
]
