"""``python -m llmrec.models._int8_export ORDER``: the process in which a model's 8-bit form is made; see `_int8.py`."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.models._int8 import INT8_FILES
from llmrec.models._pooling import Output
from llmrec.models._tokens import Framed, length_batches
from llmrec.models._transformer import load_module, traceable
from llmrec.models.device import Placement

__all__ = ["main"]

BATCH = 512
"""Tokens of one calibration step."""


def main(order: str) -> None:
    """Read the order (JSON: folder, output, target), calibrate with TARGET/sample.npz, write `INT8_FILES` to TARGET."""
    import nncf
    import openvino

    wanted = json.loads(order)
    target = Path(wanted["target"])
    with np.load(target / "sample.npz", allow_pickle=False) as stored:
        sample = Framed(*(stored[name] for name in ("offsets", "ids", "types", "borders")))
    batches = [sample.stacked(rows, 0) for rows in length_batches(sample.lengths, BATCH)]
    model = _converted(Path(wanted["folder"]), wanted["output"])
    quantised = nncf.quantize(
        model,
        nncf.Dataset(batches),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(batches),
    )
    openvino.save_model(quantised, target / INT8_FILES[0], compress_to_fp16=True)


def _converted(folder: Path, output: Output) -> Any:
    """The model with its pooling in OpenVINO's form; inputs: ids and segment ids, Int64[b, length]."""
    import openvino
    import torch

    ids = torch.ones(2, 7, dtype=torch.long)
    shape = openvino.PartialShape([-1, -1])
    inputs = [("ids", shape, openvino.Type.i64), ("types", shape, openvino.Type.i64)]
    module = traceable(load_module(folder, output, Placement("cpu", "float32")), output)
    return openvino.convert_model(module, example_input=(ids, ids * 0), input=inputs)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1])
