"""A model of transformers as an ONNX file, for batches and sequences of any size, and the same with weights of 8 bits.

Exported by PyTorch's own exporter. Of int8 is `onnxruntime`'s dynamic quantization: weights in 8 bits, activations
quantized as they come, so that no text is needed to calibrate it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..errors import RecipeError

OPSET = 20
_NEEDED = ("onnx", "onnxruntime", "onnxscript")
_AXES = {2: ("batch", "length"), 3: ("batch", "choices", "length")}


def refuse_without_packages() -> None:
    """Raises RecipeError where a package is missing that an export needs."""
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise RecipeError(f"export --to onnx needs {', '.join(missing)}: pip install 'bertwright[export]'")


class _Graph(nn.Module):
    """A model whose inputs have an order and whose outputs are a tuple, as a graph has them."""

    def __init__(self, model: PreTrainedModel, inputs: Sequence[str]) -> None:
        super().__init__()
        self.model, self._inputs = model, inputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model(**dict(zip(self._inputs, inputs, strict=True))).values())


def write_graph(model: PreTrainedModel, inputs: Mapping[str, Tensor], path: Path) -> None:
    """Writes a model in fp32, traced with `inputs`, of which no size but the number of axes is kept."""
    with torch.no_grad():
        outputs = list(model(**inputs))
    axes = tuple(dict(enumerate(_AXES[x.ndim])) for x in inputs.values())
    with _silently():
        program = torch.onnx.export(
            _Graph(model, list(inputs)).eval(),
            tuple(inputs.values()),
            dynamo=True,
            dynamic_shapes=(axes,),
            input_names=list(inputs),
            output_names=outputs,
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    program.save(str(path))


def write_int8(path: Path, quantized: Path) -> None:
    """Writes the model of the file `path` with its matrices in 8 bits, each column with a scale of its own."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _silently():
        quantize_dynamic(str(path), str(quantized), weight_type=QuantType.QInt8, per_channel=True)


@contextmanager
def _silently() -> Iterator[None]:
    """Without what the exporter and the quantizer say of their own working."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
