import hashlib
import json
import mmap
import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from llmrec import mapped
from llmrec.errors import BundleError
from llmrec.mapped import DTYPES, arrays_of, map_file, sha256_of, start_sums


@pytest.fixture(params=[0, 1 << 16], ids=["mapped", "read"])
def any_size(request, monkeypatch):
    monkeypatch.setattr(mapped, "SMALL", request.param)


def written(path, header, data=b""):
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


@pytest.mark.usefixtures("any_size")
def test_arrays_are_what_the_library_reads(tmp_path, rng):
    arrays = {str(dtype): (100 * rng.random((3, 5, 2))).astype(dtype) for dtype in DTYPES.values()}
    arrays |= {"none": np.empty((0, 4), np.float32), "one": np.array(7, np.int64), "é/x": np.arange(3, dtype=np.uint8)}
    save_file(arrays, tmp_path / "a.safetensors", metadata={"format": "np"})
    found = arrays_of(map_file(tmp_path / "a.safetensors"), "a")
    expected = load_file(tmp_path / "a.safetensors")
    assert set(found) == set(arrays) == set(expected)
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name])
        assert (array.dtype, array.shape) == (arrays[name].dtype, arrays[name].shape)
        assert array.flags.aligned
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@pytest.mark.usefixtures("any_size")
def test_arrays_out_of_line_are_put_in_line(tmp_path):
    data = np.arange(4, dtype=np.float64).tobytes()
    for spaces in range(9):
        header = {"x": {"dtype": "F64", "shape": [4], "data_offsets": [0, 32]}, "__metadata__": {"s": " " * spaces}}
        array = arrays_of(map_file(written(tmp_path / f"{spaces}", header, data)), "x")["x"]
        np.testing.assert_array_equal(array, [0, 1, 2, 3])
        assert array.flags.aligned
        assert not array.flags.writeable


def test_what_is_mapped_outlives_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "SMALL", 0)
    for name in ("a", "b"):
        save_file({"x": np.full(1000, ord(name), np.float32)}, tmp_path / name)
    content = map_file(tmp_path / "a")
    assert isinstance(content, mmap.mmap)
    array = arrays_of(content, "a")["x"]
    del content
    os.replace(tmp_path / "b", tmp_path / "a")  # noqa: PTH105 - what a save does
    assert (array == ord("a")).all()
    (tmp_path / "a").unlink()
    assert (array == ord("a")).all()


def test_where_there_are_no_maps_files_are_read(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise OSError("no such device")

    monkeypatch.setattr(mapped, "SMALL", 0)
    monkeypatch.setattr(mapped.mmap, "mmap", refused)
    (tmp_path / "x").write_bytes(b"abc")
    assert map_file(tmp_path / "x") == b"abc"


DAMAGED = {
    "too short": b"\1\0",
    "no header": b"\xff" * 40,
    "no JSON": (4).to_bytes(8, "little") + b"{{{{",
    "a list": (2).to_bytes(8, "little") + b"[]",
}
ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_what_is_no_file_of_arrays_says_so(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(BundleError, match="some place does not hold arrays"):
        arrays_of(map_file(tmp_path / "x"), "some place")


@pytest.mark.parametrize(
    "change",
    [{"dtype": "BF16"}, {"shape": [3]}, {"shape": None}, {"data_offsets": [0, 4]}, {"data_offsets": [8, 16]}],
    ids=str,
)
def test_an_array_that_is_not_there_says_so(tmp_path, change):
    content = map_file(written(tmp_path / "x", {"a": {**ENTRY, **change}}, bytes(8)))
    with pytest.raises(BundleError, match="does not hold arrays"):
        arrays_of(content, "x")


@pytest.mark.parametrize("small", [0, 1 << 16])
@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 8192, 12289])
def test_sums_are_sha256_whatever_the_windows(tmp_path, rng, monkeypatch, small, size):
    monkeypatch.setattr(mapped, "SMALL", small)
    monkeypatch.setattr(mapped, "WINDOW", mmap.ALLOCATIONGRANULARITY)
    data = rng.bytes(size)
    (tmp_path / "x").write_bytes(data)
    expected = hashlib.sha256(data).hexdigest()
    assert sha256_of(tmp_path / "x") == expected
    content = map_file(tmp_path / "x")
    sums = start_sums({"x": content, "again": content})
    assert {name: found.result() for name, found in sums.items()} == {"x": expected, "again": expected}
    assert bytes(content[:]) == data
