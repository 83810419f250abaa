import json
import os
import pickletools
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from llmrec import bundle
from llmrec.bundle import CARD, MANIFEST, read_bundle, read_manifest, replace_structure, write_bundle
from llmrec.errors import BundleError
from llmrec.pipeline import Recommender
from llmrec.types import State


@pytest.fixture
def parts(tmp_path):
    model = tmp_path / "model.bin"
    model.write_bytes(bytes(range(256)))
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "flags": np.array([True, False])}
    strided = np.arange(12, dtype=np.int32).reshape(3, 4).T
    return {
        "catalog": State({"n": 1, "text": "é\u2028"}, {**arrays, "strided": strided}),
        "components/dense": State({}, {}, {"encoder/model.bin": model, "encoder/sub/again.bin": model}),
    }


@pytest.fixture
def saved(tmp_path, parts):
    return write_bundle(tmp_path / "out" / "bundle", {"stages": [1, "a"]}, parts)


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_round_trip(saved, parts):
    structure, loaded = read_bundle(saved)
    assert structure == {"stages": [1, "a"]}
    assert list(loaded) == list(parts)
    for name, state in parts.items():
        assert loaded[name].config == state.config
        assert set(loaded[name].arrays) == set(state.arrays)
        for key, array in state.arrays.items():
            np.testing.assert_array_equal(loaded[name].arrays[key], array)
            assert loaded[name].arrays[key].dtype == array.dtype
        assert {k: p.read_bytes() for k, p in loaded[name].files.items()} == {
            k: p.read_bytes() for k, p in state.files.items()
        }


def test_the_same_state_gives_the_same_bytes(tmp_path, parts, saved):
    assert files(write_bundle(tmp_path / "again", {"stages": [1, "a"]}, parts)) == files(saved)


def test_a_bundle_may_be_moved(saved, tmp_path):
    read_bundle(Path(shutil.move(saved, tmp_path / "elsewhere")))


def test_saving_leaves_nothing_beside_the_bundle(saved, parts):
    write_bundle(saved, {"new": 1}, parts)
    assert [p.name for p in saved.parent.iterdir()] == ["bundle"]
    assert read_bundle(saved)[0] == {"new": 1}


@pytest.mark.parametrize("inside", ["mine", "parts/mine", "a/b/c"])
def test_saving_inside_another_bundle_is_refused_and_leaves_it_whole(saved, parts, inside):
    before = files(saved)
    with pytest.raises(BundleError, match=r"lies inside another bundle, .*choose another path"):
        write_bundle(saved / inside, {}, parts)
    assert files(saved) == before
    read_bundle(saved)


def test_saving_inside_a_bundle_of_a_newer_format_is_refused_too(saved, parts):
    edit(saved, lambda m: m.update(min_reader=bundle.FORMAT_VERSION + 1))
    with pytest.raises(BundleError, match="lies inside another bundle"):
        write_bundle(saved / "mine", {}, parts)


def test_a_manifest_of_something_else_above_does_not_matter(tmp_path, parts):
    (tmp_path / MANIFEST).write_text('{"kind": "something else"}', encoding="utf-8")
    read_bundle(write_bundle(tmp_path / "out", {}, parts))


def test_every_changed_byte_is_noticed(saved):
    for name in sorted(set(files(saved)) - {MANIFEST}):
        good = (saved / name).read_bytes()
        (saved / name).write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(BundleError, match="changed since"):
            read_bundle(saved)
        (saved / name).unlink()
        with pytest.raises(BundleError, match="missing"):
            read_bundle(saved)
        (saved / name).write_bytes(good)
    read_bundle(saved)


EXTRA = ["parts/components/dense/files/encoder/added_tokens.json", "notes.txt", "parts/README.md", "parts/.cache/x"]


@pytest.mark.parametrize("name", EXTRA)
def test_an_extra_file_is_refused(saved, name):
    (saved / name).parent.mkdir(exist_ok=True)
    (saved / name).write_text("{}")
    with pytest.raises(BundleError, match="is not part of the bundle"):
        read_bundle(saved)


def test_the_card_and_what_the_hub_adds_are_let_pass(tmp_path, parts):
    path = write_bundle(tmp_path / "bundle", {"a": 1}, parts, "# card")
    assert (path / CARD).read_text(encoding="utf-8") == "# card"
    assert CARD not in read_manifest(path)["files"]
    for name in (CARD, ".gitattributes", ".cache/huggingface/download/manifest.json.lock"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("edited")
    assert read_bundle(path)[0] == {"a": 1}
    (path / CARD).unlink()
    read_bundle(path)


def test_a_bundle_may_get_another_structure_in_its_place(saved, parts):
    before = files(saved)
    replace_structure(saved, {"stages": [2]}, "# new card")
    structure, loaded = read_bundle(saved)
    assert structure == {"stages": [2]}
    assert list(loaded) == list(parts)
    after = files(saved)
    assert after.pop(CARD) == b"# new card"
    assert {name for name in after if after[name] != before[name]} == {MANIFEST}
    assert [p.name for p in saved.parent.iterdir()] == ["bundle"]


def test_a_failed_replacement_leaves_the_bundle_readable(saved, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(BundleError, match="disk full"):
        replace_structure(saved, {"stages": [2]}, "# new card")
    assert read_bundle(saved)[0] == {"stages": [1, "a"]}
    assert [p.name for p in saved.parent.iterdir()] == ["bundle"]


def edit(saved, change):
    manifest = json.loads((saved / MANIFEST).read_text(encoding="utf-8"))
    change(manifest)
    (saved / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def test_a_newer_format_is_refused_with_a_hint(saved):
    edit(saved, lambda m: m.update(min_reader=bundle.FORMAT_VERSION + 1))
    for read in (read_bundle, read_manifest):
        with pytest.raises(BundleError, match=r"needs bundle format 3.*upgrade"):
            read(saved)


def test_a_bundle_of_the_first_format_opens(cascade, queries, tmp_path):
    path = cascade.save(tmp_path / "bundle")
    (path / CARD).unlink()

    def first(manifest):
        manifest.update(format=1, min_reader=1)
        del manifest["structure"]["counts"]

    edit(path, first)
    again = Recommender.load(path)
    np.testing.assert_array_equal(again.recommend(queries, 5).items, cascade.recommend(queries, 5).items)
    assert again.users is None


def test_a_newer_format_that_older_readers_can_read_opens(saved):
    edit(saved, lambda m: m.update(format=bundle.FORMAT_VERSION + 1, something_new=1))
    read_bundle(saved)


@pytest.mark.parametrize(
    "damage",
    [
        lambda m: m.pop("min_reader"),
        lambda m: m.update(min_reader="1"),
        lambda m: m.pop("files"),
        lambda m: m.update(files=[]),
        lambda m: m.update(files={**m["files"], "parts/catalog/config.json": None}),
        lambda m: m.pop("structure"),
        lambda m: m.update(parts=["missing"]),
        lambda m: m.update(kind="something else"),
    ],
)
def test_a_damaged_manifest_is_a_bundle_error(saved, damage):
    edit(saved, damage)
    with pytest.raises(BundleError):
        read_bundle(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"kind": 1}'])
def test_a_broken_manifest_is_a_bundle_error(saved, text):
    (saved / MANIFEST).write_text(text)
    with pytest.raises(BundleError):
        read_bundle(saved)


def test_what_is_no_bundle_says_so(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(BundleError, match=r"is not a bundle.*llmrec fit"):
            read_bundle(path)


@pytest.mark.parametrize("name", ["../escape", "/etc/escape", "a/../../escape", ""])
def test_no_name_leads_out_of_the_bundle(tmp_path, saved, name):
    file = tmp_path / "model.bin"
    for parts in ({name: State({"a": 1})}, {"a": State(files={name: file})}):
        with pytest.raises(BundleError, match="not a name"):
            write_bundle(tmp_path / "deep" / "bundle", {}, parts)
        assert not (tmp_path / "deep" / "bundle").exists()
    assert not list(tmp_path.rglob("escape*"))


def test_no_manifest_leads_out_of_the_bundle(tmp_path, saved):
    secret = tmp_path / "out" / "secret"
    secret.write_text("secret")
    known = {"sha256": bundle.sha256_of(secret), "size": 6}
    name = "parts/components/dense/files/../../../../../secret"
    assert (saved / name).resolve() == secret
    edit(saved, lambda m: m["files"].update({name: known}))
    with pytest.raises(BundleError, match="not a name"):
        read_bundle(saved)


@pytest.mark.parametrize("content", ["file", "folder"])
def test_only_a_bundle_is_ever_replaced(tmp_path, parts, content):
    path = tmp_path / "precious"
    precious = path if content == "file" else path / "thesis.txt"
    precious.parent.mkdir(exist_ok=True)
    precious.write_text("precious")
    with pytest.raises(BundleError, match="is not a bundle; choose another path"):
        write_bundle(path, {}, parts)
    assert precious.read_text() == "precious"


def test_an_empty_folder_becomes_a_bundle(tmp_path, parts):
    (tmp_path / "mine").mkdir()
    path = write_bundle(tmp_path / "mine", {"it": 1}, parts)
    assert read_bundle(path)[0] == {"it": 1}


@pytest.mark.parametrize("step", ["_write_part", "_write_manifest", "_swap", "_exchange"])
def test_a_failed_write_leaves_the_old_bundle(saved, parts, monkeypatch, step):
    before = files(saved)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(bundle, step, fail)
    with pytest.raises(BundleError, match="disk full"):
        write_bundle(saved, {"new": 1}, parts)
    assert files(saved) == before
    assert [p.name for p in saved.parent.iterdir()] == ["bundle"]


def test_without_exchange_a_failed_swap_brings_the_old_bundle_back(saved, parts, monkeypatch):
    before, rename = files(saved), Path.rename
    monkeypatch.setattr(bundle, "_exchange", lambda *_: False)
    write_bundle(saved, {"stages": [1, "a"]}, parts)
    assert files(saved) == before

    def fail(self, target):
        if self.name.startswith(".bundle.") and not self.name.endswith(".old"):
            raise OSError("disk full")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(BundleError, match="disk full"):
        write_bundle(saved, {"new": 1}, parts)
    assert files(saved) == before
    assert [p.name for p in saved.parent.iterdir()] == ["bundle"]


def test_a_missing_source_file_is_a_bundle_error(saved, tmp_path):
    with pytest.raises(BundleError, match="gone"):
        write_bundle(tmp_path / "new", {}, {"a": State(files={"x": tmp_path / "gone"})})
    assert not (tmp_path / "new").exists()


def is_pickle(data):
    try:
        return sum(1 for _ in pickletools.genops(data)) > 2
    except (ValueError, IndexError, KeyError, OverflowError):
        return False


def test_nothing_in_a_recommenders_bundle_is_a_pickle(cascade, tmp_path):
    import pickle

    assert is_pickle(pickle.dumps({"a": np.zeros(3)}))
    path = cascade.save(tmp_path / "bundle")
    suffixes = {p.suffix for p in path.rglob("*") if p.is_file()}
    assert suffixes <= {".json", ".safetensors", ".txt", ".md"}
    assert not [name for name, data in files(path).items() if is_pickle(data)]


WRITER = """
import sys
from pathlib import Path
import numpy as np
from llmrec.bundle import write_bundle
from llmrec.types import State
print("ready", flush=True)
version = 0
while True:
    version += 1
    state = State({"version": version}, {"x": np.full(200_000, version, np.float32)})
    write_bundle(Path(sys.argv[1]), {"version": version}, {"a": state, "b": state})
"""


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_killed_save_leaves_the_old_or_the_new_bundle(tmp_path):
    path = tmp_path / "bundle"
    for attempt in range(4):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        try:
            assert writer.stdout.readline() == "ready\n"
            while not path.exists() and writer.poll() is None:
                time.sleep(0.01)
            time.sleep(0.1 + 0.037 * attempt)
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            writer.stdout.close()
        structure, parts = read_bundle(path)
        for part in parts.values():
            assert part.config["version"] == structure["version"]
            assert (part.arrays["x"] == structure["version"]).all()


def left_behind(saved, age):
    """A staging folder as a killed save leaves it, last touched `age` seconds ago."""
    folder = saved.parent / ".bundle.saving-abcd1234"
    (folder / "parts").mkdir(parents=True)
    (folder / "parts" / "weights").write_bytes(b"x")
    then = time.time() - age
    os.utime(folder, (then, then))
    return folder


@pytest.mark.skipif(os.name != "posix", reason="needs file locks")
def test_what_a_killed_save_left_is_removed_by_the_next(saved, parts):
    left = left_behind(saved, age=3600)
    write_bundle(saved, {"new": 1}, parts)
    assert not left.exists()
    assert read_bundle(saved)[0] == {"new": 1}


@pytest.mark.skipif(os.name != "posix", reason="needs file locks")
def test_what_another_process_is_writing_stays(saved, parts):
    left = left_behind(saved, age=3600)
    held = bundle._hold(left)
    try:
        write_bundle(saved, {"new": 1}, parts)
        assert left.exists()
    finally:
        os.close(held)
    write_bundle(saved, {"new": 1}, parts)
    assert not left.exists()


def test_what_is_young_or_not_ours_stays(saved, parts):
    young = left_behind(saved, age=0)
    others = [".bundle.saving-abcd1234.old", ".bundle.backup12", ".other.saving-abcd1234", ".bundle.saving-abc"]
    for name in others:
        (saved.parent / name).mkdir()
        os.utime(saved.parent / name, (0, 0))
    (saved.parent / ".bundle.saving-linked00").symlink_to(saved.parent / ".bundle.backup12")
    write_bundle(saved, {"new": 1}, parts)
    assert young.exists()
    assert all((saved.parent / name).exists() for name in others)
    assert (saved.parent / ".bundle.saving-linked00").is_symlink()


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_save_killed_in_the_middle_is_cleaned_up_after(tmp_path, monkeypatch):
    path = tmp_path / "bundle"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout.readline() == "ready\n"
        while not list(tmp_path.glob(".bundle.saving-*/parts/b")):  # it is killed while it writes
            time.sleep(0.0005)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    monkeypatch.setattr(bundle, "STALE_S", -1.0)
    write_bundle(path, {"new": 1}, {"a": State({"a": 1})})
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]
