import os
import threading

import pytest

from llmrec.assets import cache_dir
from llmrec.assets.storage import damaged_files, hash_file, install, is_stored, locked
from llmrec.errors import AssetError

SHA_OF_HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def filling(files, promise):
    def fill(folder):
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return promise

    return fill


@pytest.fixture
def folder(cache):
    cache.mkdir()
    return install(cache / "x", filling({"a/b": "hello"}, {"a/b": SHA_OF_HELLO}))


def leftovers(cache):
    return sorted(path.name for path in cache.iterdir())


def test_cache_dir_follows_the_environment(monkeypatch, tmp_path):
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.setenv("LLMREC_CACHE", "~/somewhere")
    assert cache_dir().is_absolute()
    assert "~" not in str(cache_dir())
    monkeypatch.delenv("LLMREC_CACHE")
    assert cache_dir().name == "llmrec"


def test_an_installed_folder_is_whole(folder, cache):
    assert (folder / "a/b").read_text() == "hello"
    assert is_stored(folder)
    assert damaged_files(folder, {"a/b": SHA_OF_HELLO}) == []
    assert damaged_files(folder) == []
    assert leftovers(cache) == ["x"]
    assert hash_file(folder / "a/b") == SHA_OF_HELLO


@pytest.mark.parametrize(
    ("files", "promise", "message"),
    [
        ({"a": "hullo"}, {"a": SHA_OF_HELLO}, f"fetched a has sha256 .*expected {SHA_OF_HELLO}"),
        ({"b": "hello"}, {"a": SHA_OF_HELLO}, "the file a is missing"),
    ],
)
def test_wrong_files_leave_the_cache_as_it_was(folder, cache, files, promise, message):
    for target in (folder, cache / "new"):
        with pytest.raises(AssetError, match=message):
            install(target, filling(files, promise))
    assert leftovers(cache) == ["x"]
    assert (folder / "a/b").read_text() == "hello"


def test_an_interrupted_fetch_leaves_nothing(cache):
    cache.mkdir()

    def interrupted(folder):
        (folder / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        install(cache / "x", interrupted)
    assert leftovers(cache) == []


def test_remains_of_a_killed_process_are_swept(cache):
    (cache / ".x.tmp-old").mkdir(parents=True)
    install(cache / "x", filling({"a": "hello"}, {"a": SHA_OF_HELLO}))
    assert leftovers(cache) == ["x"]


def test_damage_is_found_and_mere_touching_is_not_damage(folder):
    file = folder / "a/b"
    os.utime(file, (1, 1))
    assert damaged_files(folder) == []
    file.write_text("hellO")
    assert damaged_files(folder) == ["a/b"]
    file.unlink()
    assert damaged_files(folder) == ["a/b"]


def test_a_folder_without_a_readable_marker_is_damaged(folder):
    (folder / ".llmrec.json").write_text("{")
    assert damaged_files(folder) == [".llmrec.json"]


def test_a_folder_stored_for_other_hashes_is_damaged(folder):
    assert damaged_files(folder, {"a/b": "0" * 64}) == ["a/b"]


def test_a_damaged_folder_is_replaced(folder, cache):
    (folder / "a/b").write_text("bad")
    (folder / "extra").write_text("bad")
    install(folder, filling({"a/b": "hello"}, {"a/b": SHA_OF_HELLO}))
    assert damaged_files(folder) == []
    assert not (folder / "extra").exists()
    assert leftovers(cache) == ["x"]


def test_one_at_a_time(cache):
    said, order = [], []
    inside, release = threading.Event(), threading.Event()

    def first():
        with locked(cache / "x", said.append):
            inside.set()
            release.wait(5)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(5)
    timer = threading.Timer(0.3, release.set)
    timer.start()
    with locked(cache / "x", said.append):
        order.append("second")
    thread.join()
    timer.join()
    assert order == ["first", "second"]
    assert said == ["waiting for another process that is fetching x"]


def test_a_cache_that_cannot_be_written_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AssetError, match="Set LLMREC_CACHE"), locked(tmp_path / "file" / "x", print):
        pass
