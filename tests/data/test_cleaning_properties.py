"""Cleaning against a slow reference: plain Python, row by row, written from the documentation of the classes."""

import csv
import io
import re
import unicodedata
from collections import Counter

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmrec.data import DataConfig, _blocks, clean_data
from llmrec.data._repair import repair_ids, repair_text

LARGEST = float(np.finfo(np.float32).max)
INVISIBLE = {
    0x61C,
    0x200B,
    0x200E,
    0x200F,
    0x2060,
    0xFEFF,
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
    *range(0x7F, 0xA0),
}
INVISIBLE |= set(range(0x20)) - {9, 10, 13}
ONLY_IN_IDS = {9, 10, 13, 0x200C, 0x200D}


def mend(text, is_id=False):
    """Return repaired text and the names of the repairs."""
    if text is None:
        return None, set()
    classes = set()
    drop = INVISIBLE | (ONLY_IN_IDS if is_id else set())
    seen = "".join(letter for letter in text if ord(letter) not in drop)
    if seen != text:
        classes.add("control_characters")
    formed = unicodedata.normalize("NFC", seen)
    if formed != seen:
        classes.add("not_nfc")
    trimmed = formed.strip() if is_id else formed
    if trimmed != formed:
        classes.add("padded_id")
    return trimmed, classes


def reference_catalog(rows, required):
    kept, counts, first = [], Counter(), {}
    for raw, title in rows:
        an_id, repairs = mend(raw, is_id=True)
        text, more = mend(title)
        if not an_id:
            counts["missing_id"] += 1
        elif required and not (text or "").strip():
            counts["empty_text"] += 1
        elif an_id in first:
            counts["duplicate_id" if first[an_id] == raw else "colliding_id"] += 1
        else:
            first[an_id] = raw
            kept.append({"item_id": an_id, "title": text})
            counts.update(repairs | more)
            counts["repaired"] += bool(repairs | more)
            counts["no_text"] += not (text or "").strip()
    return kept, counts


def number(text):
    return float(text) if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", text) else None


def reject(row, items, kinds):
    """Return the class a row of the log is rejected in, or None."""
    user, item, time, kind, weight = row
    item = mend(item, is_id=True)[0]
    checks = (
        ("missing_kind", not (kind or "").strip()),
        ("unknown_kind", bool(kinds) and kind not in kinds),
        ("dropped_kind", kinds.get(kind) == 0),
        ("missing_user", not mend(user, is_id=True)[0]),
        ("missing_item", not item),
        ("unknown_item", item not in items),
        ("missing_time", not time),
        ("bad_time", not time or number(time) is None or not number(time).is_integer()),
        ("bad_weight", not weight or number(weight) is None or abs(number(weight)) > LARGEST),
    )
    return next((name for name, wrong in checks if wrong), None)


def reference_log(rows, items, kinds, fold):
    counts, seen, histories, taken = Counter(), set(), {}, []
    for row in rows:
        if name := reject(row, items, kinds):
            counts[name] += 1
            continue
        user, repairs = mend(row[0], is_id=True)
        item, more = mend(row[1], is_id=True)
        weight = np.float32(number(row[4])) * (np.float32(kinds[row[3]]) if kinds else np.float32(1))
        values = (user, item, int(number(row[2])), row[3], float(weight))
        if values in seen:
            counts["duplicate_row"] += 1
            continue
        seen.add(values)
        counts.update(repairs | more)
        counts["repaired"] += bool(repairs | more)
        taken.append(values)
    for user, item, time, kind, weight in sorted(taken, key=lambda values: values[2]):
        history = histories.setdefault(user, [])
        if fold and any(item == other[0] for other in history):
            counts["folded"] += 1
        else:
            history.append((item, time, kind, weight))
    order = list(dict.fromkeys(user for user, *_ in taken))
    return [(user, histories[user]) for user in order], counts


def check_part(part, n_rows, counts):
    """Balance, and every class as the reference counted it."""
    assert part.read == n_rows == part.accepted + part.repaired + part.rejected
    assert part.repaired == counts.pop("repaired", 0)
    assert {f.name: f.count for f in part.findings if f.name != "unordered_times"} == {
        k: n for k, n in counts.items() if n
    }


IDS = st.sampled_from(
    [
        "a",
        "b",
        "c",
        " a",
        "b\u00a0",
        "a\u200b",
        "\u00e9",
        "e\u0301",
        "\u00e9\t",
        "x\u200dy",
        "xy",
        "",
        " ",
        "\ufeff",
        None,
        "007",
        "7",
    ]
)
TITLES = st.sampled_from(
    ["t", None, "", " ", "\u200b", "be\u0301", "a\u202eb", "x\ty", "a\u200db", "\x01", "two\nlines"]
)
USERS = st.sampled_from(["u", "v", " u", "v\u200e", "", None, "e\u0301", "\u00e9", "w"])
TIMES = st.sampled_from(["1", "2", "3", "3.0", "2e0", "-1", "", None, "x", "1.5", "2020-01-01", "1e999"])
KINDS = st.sampled_from(["buy", "view", "hover", "", None, "Buy"])
WEIGHTS = st.sampled_from(["1", "0.5", "2", "", None, "many", "1e99", "-3"])
LOGS = st.lists(st.tuples(USERS, IDS, TIMES, KINDS, WEIGHTS), max_size=25)
WEIGHTED = st.sampled_from([{}, {"buy": 2.0, "view": 0.5, "hover": 0.0}, {"buy": 1.0}])


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(IDS, TITLES), max_size=12), LOGS, WEIGHTED, st.booleans(), st.booleans())
def test_dirty_tables_give_what_a_loop_would_give(items, log, kinds, required, fold):
    items = [("sound", "t"), *items]
    log = [("u", "sound", "0", "buy", "1"), *log]
    config = DataConfig(
        on_error="skip", kinds=kinds, required=("title",) if required else (), repeats="fold" if fold else "keep"
    )
    data = clean_data(
        columns(["item_id", "title"], items), columns(["user_id", "item_id", "t", "kind", "weight"], log), config=config
    )
    compare(data, items, log, kinds, required, fold)


def columns(names, rows):
    return pa.table({name: pa.array([row[at] for row in rows], pa.string()) for at, name in enumerate(names)})


def compare(data, items, log, kinds, required, fold, broken=0):
    kept, counts = reference_catalog(items, required)
    assert data.catalog.table.to_pylist() == kept
    check_part(data.cleaning.part("catalog"), len(items), counts)
    ids = {row["item_id"] for row in kept}
    expected, counts = reference_log(log, ids, kinds, fold)
    if broken:
        counts["wrong_width"] = broken
    check_part(data.cleaning.part("interactions"), len(log) + broken, counts)
    found = data.interactions
    assert found.users.ids == tuple(user for user, _ in expected)
    for row, (_, history) in enumerate(expected):
        span = slice(found.offsets[row], found.offsets[row + 1])
        names = [found.kind_names[kind] for kind in found.kinds[span]]
        assert (
            list(
                zip(
                    data.catalog.items.decode(found.items[span]),
                    found.times[span].tolist(),
                    names,
                    found.weights[span].tolist(),
                    strict=True,
                )
            )
            == history
        )


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LOGS, st.integers(0, 2), st.integers(20, 200), st.booleans())
def test_a_file_in_blocks_with_broken_lines_gives_the_same(tmp_path, monkeypatch, log, broken, size, fold):
    monkeypatch.setattr(_blocks, "_BLOCK", size)
    items = [("sound", "t"), ("a", "t"), ("\u00e9", "t")]
    log = [("u", "sound", "0", "buy", "1"), *log]
    sink = io.StringIO()
    writer = csv.writer(sink, quoting=csv.QUOTE_NOTNULL if hasattr(csv, "QUOTE_NOTNULL") else csv.QUOTE_MINIMAL)
    writer.writerows([("user_id", "item_id", "t", "kind", "weight"), *log[:4]])
    sink.write("one,two\r\n" * broken)
    writer.writerows(log[4:])
    path = tmp_path / "log.csv"
    path.write_bytes(sink.getvalue().encode())
    config = DataConfig(on_error="skip", repeats="fold" if fold else "keep")
    log = [tuple(value or None for value in row) for row in log]  # to a file, no text and no value are one
    compare(clean_data(columns(["item_id", "title"], items), path, config=config), items, log, {}, False, fold, broken)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=6), max_size=6))
def test_any_text_is_repaired_as_a_loop_would(texts):
    for repair, is_id in ((repair_text, False), (repair_ids, True)):
        found = repair(pa.array(texts, pa.string()))
        expected = [mend(text, is_id) for text in texts]
        assert found.values.to_pylist() == [text for text, _ in expected]
        names = {name for _, classes in expected for name in classes}
        assert {n: mask.tolist() for n, mask in found.classes.items()} == {
            n: [n in c for _, c in expected] for n in names
        }
        assert not repair(found.values).classes
