"""The tables of the guides name everything that there is."""

import re
from collections import Counter
from pathlib import Path

from llmrec.cli.app import ENTRIES
from llmrec.cli.checkup import SETTINGS
from llmrec.data import DataConfig, load_data
from llmrec.data.config import LogColumns
from llmrec.data.report import CLASSES, HARMLESS
from llmrec.data.sources import EXTENSIONS
from llmrec.text import list_templates

GUIDES = Path(__file__).parent.parent / "docs" / "guides"


def cells(page, heading):
    """The rows of the first table after a heading, each a list of cells."""
    text = (GUIDES / page).read_text(encoding="utf-8").split(f"\n## {heading}\n", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE).group()
    return [re.split(r"(?<!\\) *\| *", line.strip("| \n")) for line in table.splitlines()[2:]]


def test_every_command_is_in_the_table_with_an_example_of_it():
    rows = cells("command-line.md", "Commands")
    names = [" ".join(filter(None, (entry.group, entry.name or entry.command.__name__))) for entry in ENTRIES]
    assert [row[0].strip("`") for row in rows] == names
    for name, _, example in rows:
        assert example.startswith(f"`llmrec {name.strip('`')}")


def test_every_variable_is_in_a_table():
    page = (GUIDES / "command-line.md").read_text(encoding="utf-8")
    missing = [name for name in SETTINGS if not re.search(rf"^\|.*`{name}[`=]", page, re.MULTILINE)]
    assert not missing


def test_the_templates_are_counted_by_kind_and_language():
    counts = Counter((template.kind, template.language) for template in list_templates())
    shown = {
        (row[0].strip("`"), lang): int(n)
        for row in cells("templates.md", "What ships")
        for lang, n in zip(("en", "zh"), row[1:], strict=True)
    }
    assert shown == dict(counts)


def test_the_formats_are_named():
    suffixes = {text for row in cells("data.md", "Formats")[:1] for text in re.findall(r"`(\.[\w.]+)`", row[0])}
    assert suffixes - {".gz"} == {name.removesuffix(".gz") for name in EXTENSIONS}


ITEMS = (
    b"item_id,title\n"
    b"a,Alpha\n"
    b"b,\xff\n"  # not_utf8
    b"c\n"  # wrong_width
    b'd,"De"lta\n'  # bad_quotes
    b",Nobody\n"  # missing_id
    b"e,\n"  # empty_text, or no_text where the title is not required
    b"a,Again\n"  # duplicate_id
    b" a,Collides\n"  # colliding_id
    b"f ,Padded\n"  # padded_id
    b"g,Ga\x01mma\n"  # control_characters
    b"h,Cafe\xcc\x81\n"  # not_nfc
)
USERS = '{"user_id": 1.5, "job": "x"}\n{"user_id": 2, "job": "x"}\nnothing\n'  # bad_id, bad_json
LOG = """user_id,item_id,timestamp,kind,weight,rating
u,a,5,buy,1,1
u,a,5,buy,1,1
u,a,6,buy,1,1
u,f,4,buy,1,1
u,f,4,,1,1
u,f,4,veiw,1,1
u,f,4,return,1,1
,f,4,buy,1,1
u,,4,buy,1,1
u,z,4,buy,1,1
u,g,,buy,1,1
u,g,soon,buy,1,1
u,g,7,buy,nan,1
u,g,7,buy,1,nan
"""


def test_the_table_of_cleaning_says_of_every_class_what_the_code_does(tmp_path):
    for name, content in {"items.csv": ITEMS, "users.jsonl": USERS.encode(), "log.csv": LOG.encode()}.items():
        (tmp_path / name).write_bytes(content)
    config = DataConfig(
        items=str(tmp_path / "items.csv"),
        users=str(tmp_path / "users.jsonl"),
        interactions=str(tmp_path / "log.csv"),
        columns=LogColumns(weight="weight", kind="kind", rating="rating"),
        kinds={"buy": 1.0, "return": 0.0},
        on_error="skip",
    )
    reports = [load_data(config.model_copy(update={"required": names})).cleaning for names in ((), ("title",))]
    parts = [part for report in reports for part in report.parts]
    found = {finding.name: finding.outcome for part in parts for finding in part.findings}
    assert cells("data.md", "Cleaning") == [
        [f"`{name}`", f"{found[name]}, harmless" if name in HARMLESS else found[name], meaning]
        for name, meaning in CLASSES.items()
    ]
    n = Counter(found.values())
    page = " ".join((GUIDES / "data.md").read_text(encoding="utf-8").split())
    assert (
        f"There are {len(CLASSES)} classes: {n['rejected']} of rejected rows ({len(HARMLESS)} of them harmless), "
        f"{n['repaired']} of repaired and {n['noted']} of noted ones."
    ) in page
