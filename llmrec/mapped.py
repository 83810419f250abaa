"""Files as read-only memory maps: their sums, and the arrays of a safetensors file without a copy.

A map holds on to the file it was made of: where another file takes its name, or none, what was mapped stays. (Windows
refuses to rename or remove a mapped file.) Only who writes into the file itself changes what is read; who cuts it
short ends the process.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec.errors import BundleError

__all__ = ["Content", "arrays_of", "map_file", "sha256_of", "start_sums"]

Content = mmap.mmap | bytes
"""What is in a file; bytes where it is too small to be worth a map."""

SMALL = 1 << 16
"""Bytes."""

WINDOW = 1 << 25
"""Bytes that are summed at once. A thread gives up the interpreter for as long, and that is what lets others work."""

THREADS = 4
"""At most: each holds a window in memory, and the largest file is one thread's work."""

DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype("<u1"),
    "I8": np.dtype("<i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "F16": np.dtype("<f2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
}
"""The names that safetensors has for what numpy knows."""


def map_file(path: Path) -> Content:
    """Map a file, or read it where it is small.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if path.stat().st_size <= SMALL:
            return file.read()
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError:  # some network file systems have no maps
            return file.read()


def sha256_of(file: Path) -> str:
    """Return the sha256 (hex) of a file's content."""
    return _sum(map_file(file))


def start_sums(contents: Mapping[str, Content]) -> dict[str, Future[str]]:
    """Begin to sum the contents of files, in threads, the largest first; the sha256 (hex) of each by its name."""
    threads = ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1))
    largest_first = sorted(contents, key=lambda name: -len(contents[name]))
    sums = {name: threads.submit(_sum, contents[name]) for name in largest_first}
    threads.shutdown(wait=False)  # no more will come
    return sums


def _sum(content: Content) -> str:
    """Sha256 (hex) of a file's content; of a map, no page stays in this process's memory."""
    digest = hashlib.sha256()
    with memoryview(content) as whole:
        for start in range(0, len(whole), WINDOW):
            _advise(content, "MADV_WILLNEED", start + WINDOW)  # read from disk while this window is summed
            digest.update(whole[start : start + WINDOW])
            _advise(content, "MADV_DONTNEED", start)  # the system's cache of files keeps what the next to ask will find
    return digest.hexdigest()


def _advise(content: Content, advice: str, start: int) -> None:
    """Say what will be with a window of a map; systems that cannot be told do without."""
    if isinstance(content, mmap.mmap) and start < len(content) and hasattr(mmap, advice):
        content.madvise(getattr(mmap, advice), start, min(WINDOW, len(content) - start))


def arrays_of(content: Content, where: str) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file, in its own memory and read-only.

    Of the format (https://huggingface.co/docs/safetensors), whose library copies every array that it reads.

    Args:
        content: of the file; the arrays hold on to it.
        where: its name, for messages.

    Raises:
        BundleError: it is not such a file, or holds a number format that numpy does not know.
    """
    try:
        begin = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(bytes(content[8:begin]))
        header.pop("__metadata__", None)
        return {name: _array(content, begin, entry) for name, entry in header.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{where} does not hold arrays that can be read: {error!r}; fit the bundle again") from error


def _array(content: Content, begin: int, entry: Mapping[str, Any]) -> NDArray[Any]:
    dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
    start, stop = entry["data_offsets"]
    if stop - start != dtype.itemsize * prod(shape):
        raise ValueError(f"{entry} does not add up")
    found: NDArray[Any] = np.ndarray(shape, dtype, buffer=content, offset=begin + start)
    if not found.flags.aligned:  # from another writer: compiled code need not stand for it
        found = found.copy()
        found.flags.writeable = False
    return found
