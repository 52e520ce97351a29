"""Models as ONNX files: written by torch's exporter, made smaller and run by onnxruntime.

Opset and arithmetic are the exporter's; ``tests/shrink`` holds what runs against torch.
"""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_rec.errors import UserError, import_extra
from lightning_rec.files import atomic_path
from lightning_rec.models import kernels
from lightning_rec.shrink.plain import Plain
from lightning_rec.streams import quiet

MOST_ROWS = 2**20  # of a batch


def write_onnx(of: Plain, path: Path) -> None:
    """Write a model as an ONNX file: any number of rows, and any length up to ``of.longest``.

    Raises UserError if the extra ``onnx`` is not installed, or torch cannot export the model.
    """
    for library in ("onnx", "onnxscript"):
        import_extra(library, "method=onnx", "onnx")
    recurrent = (
        type(each).__name__ for each in of.module.modules() if isinstance(each, nn.RNNBase)
    )
    if layer := next(recurrent, None):
        raise UserError(
            f"A model with a layer of nn.{layer} cannot be exported: torch's exporter fixes the "
            "length that it reads. Models of attention or convolutions can."
        )
    rows, longest = torch.export.Dim("rows", min=1, max=MOST_ROWS), of.longest
    axes: dict[int, Any] = {0: rows}
    if longest is not None:
        # The exporter is told of one less: an objective that appends to a history asks whether it
        # is full. What it makes of a full one is right all the same, and tested.
        axes[1] = torch.export.Dim("length", min=1, max=max(2, longest - 1))
    module = of.module.eval()
    kernels.use(fast=False)
    with torch.no_grad(), _quiet():
        shapes = tuple(axes for _ in of.inputs)
        inputs = tuple(of.inputs.values())
        # Strictly traced: else a length that is asked for as a plain number becomes a constant.
        try:
            program = torch.export.export(module, inputs, dynamic_shapes=shapes, strict=True)
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"torch cannot export this model: {reason}") from error
        made = torch.onnx.export(
            program, dynamo=True, input_names=list(of.inputs), output_names=[of.output],
            verbose=False,
        )  # fmt: skip
    assert made is not None
    with atomic_path(path) as temporary:
        made.save(str(temporary), external_data=False)


def write_int8(path: Path, to: Path) -> None:
    """Make the weights of an ONNX file eight-bit integers; products are of integers then.

    Each channel of a weight has a scale of its own, and so has each batch of what it is multiplied
    by (dynamic quantisation: Jacob et al., CVPR 2018, arXiv:1712.05877, of weights alone).
    """
    quantization: Any = import_extra("onnxruntime.quantization", "method=int8", "onnx")
    with atomic_path(to) as temporary, _quiet():
        quantization.quantize_dynamic(
            path, temporary, weight_type=quantization.QuantType.QInt8, per_channel=True,
            extra_options={"DisableShapeInference": True},
        )  # fmt: skip


class Session:
    """An ONNX file that is run by onnxruntime on the CPU. Args: path; threads, of one product."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        runtime: Any = import_extra("onnxruntime", "An ONNX file", "onnx")
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # it warns of what it could not make faster
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.inter_op_num_threads = 1
        try:
            self._session = runtime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # of a dozen kinds of its own
            raise UserError(f"{path} is no ONNX file that onnxruntime can run: {error}.") from error
        self.inputs = [each.name for each in self._session.get_inputs()]

    def __call__(self, inputs: Mapping[str, Tensor | NDArray[Any] | None]) -> Tensor:
        """The one output, on the CPU; what the file does not read is passed over."""
        given = {name: np.asarray(inputs[name]) for name in self.inputs}
        return torch.from_numpy(self._session.run(None, given)[0])


@contextmanager
def _quiet() -> Iterator[None]:
    """Let the exporter and the quantiser not tell of themselves."""
    names = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "root", "")
    told = os.environ.get("TORCH_LOGS")
    try:
        with warnings.catch_warnings(), quiet(*names):
            warnings.simplefilter("ignore")
            yield
    finally:
        if told is not None:
            os.environ["TORCH_LOGS"] = told
