"""A LightGBM model through the library's C interface, without its Python package.

The package imports pandas, scikit-learn and more where they are installed, which takes over two seconds; to read a
model and to score with it takes none of them. The functions called here are documented and stable:
https://lightgbm.readthedocs.io/en/stable/C-API.html
"""

from __future__ import annotations

import ctypes
import weakref
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec.errors import MissingExtraError, ModelError
from llmrec.types import Float32Array

__all__ = ["LoadedTrees"]

FLOAT32, RAW_SCORE, ROW_MAJOR, ALL = 0, 1, 1, -1
"""Constants of the C interface: a number format, a kind of prediction, a layout, and that no tree is left out."""


class LoadedTrees:
    """A model that LightGBM has written, ready to score; any number of threads may share one.

    Args:
        text: the model.

    Raises:
        MissingExtraError: LightGBM is not installed.
        ModelError: it is no model.
    """

    def __init__(self, text: str) -> None:
        self._library = _library(_package())
        self._handle = ctypes.c_void_p()
        trees = ctypes.c_int()
        self._check(
            self._library.LGBM_BoosterLoadModelFromString(
                ctypes.c_char_p(text.encode()), ctypes.byref(trees), ctypes.byref(self._handle)
            )
        )
        weakref.finalize(self, self._library.LGBM_BoosterFree, self._handle)

    def scores(self, matrix: Float32Array, threads: int) -> NDArray[np.float64]:
        """Return Float64[m], the raw scores of all trees for the rows of Float32[m, f]; the same with any threads."""
        matrix = np.ascontiguousarray(matrix, dtype=np.float32)
        scores, found = np.empty(len(matrix)), ctypes.c_int64()
        if len(matrix) == 0:
            return scores
        self._check(
            self._library.LGBM_BoosterPredictForMat(
                self._handle,
                matrix.ctypes.data_as(ctypes.c_void_p),
                ctypes.c_int(FLOAT32),
                ctypes.c_int32(matrix.shape[0]),
                ctypes.c_int32(matrix.shape[1]),
                ctypes.c_int(ROW_MAJOR),
                ctypes.c_int(RAW_SCORE),
                ctypes.c_int(0),
                ctypes.c_int(ALL),
                ctypes.c_char_p(f"verbosity=-1 num_threads={threads}".encode()),
                ctypes.byref(found),
                scores.ctypes.data_as(ctypes.POINTER(ctypes.c_double)),
            )
        )
        return scores

    def _check(self, code: int) -> None:
        if code != 0:
            raise ModelError(f"LightGBM refuses the fusion's trees: {self._library.LGBM_GetLastError().decode()}")


def _package() -> Path:
    spec = find_spec("lightgbm")
    if spec is None or spec.origin is None:
        raise MissingExtraError("lightgbm", "rank")
    return Path(spec.origin).parent


@cache
def _library(package: Path) -> Any:
    """The C library that the package brings along, from where it looks for it itself."""
    names = ("lib_lightgbm.so", "lib_lightgbm.dylib", "lib_lightgbm.dll")
    places = [folder / name for folder in (package / "lib", package / "bin", package.parent) for name in names]
    path = next((place for place in places if place.is_file()), None)
    if path is None:  # built in another way: the package knows
        import lightgbm.basic

        library = lightgbm.basic._LIB
    else:
        library = ctypes.cdll.LoadLibrary(str(path))
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    return library
