"""An encoder that somebody exported to ONNX, run by onnxruntime on the processor.

Shape letters: N = images, C = channels, S = space.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hilum.core.errors import DataError, RecipeError, unknown_name
from hilum.nn.export import require_onnx
from hilum.nn.imported_encoder import Network, Sight
from hilum.nn.onnx_model import session_of

_FLOAT = "tensor(float)"
_COLOURS = (1, 3)


class OnnxFile:
    """An ONNX file's bytes, opened: one input of images, and the output that is the embedding.

    DataError when it is no whole ONNX file, RecipeError when it is none of one image input.
    """

    def __init__(self, payload: bytes, output: str | None = None) -> None:
        require_onnx()
        _check_is_whole(payload)
        try:
            self._session = session_of(payload, num_threads=torch.get_num_threads())
        except Exception as error:  # onnxruntime's own errors have no common parent below this
            raise DataError(f"onnxruntime cannot run the file: {_first_line(error)}") from None
        self._input = self._only_input()
        self._output = _output(output, [one.name for one in self._session.get_outputs()])
        self._batch, self._channels, *self._space = (
            n if isinstance(n, int) and n > 0 else None for n in self._input.shape
        )
        if self._batch not in (None, 1):
            raise RecipeError(
                f"The file takes {self._batch} images at once and no others; export it with an open batch."
            )

    def sight(self, *, spatial_dims: int | None, in_channels: int | None) -> Sight:
        """What the file says it sees; RecipeError where that is not what was said of it."""
        dims = len(self._space)
        if spatial_dims not in (None, dims):
            raise RecipeError(f"The file's input is {self._input.shape}: {dims}D, and not {spatial_dims}D.")
        if self._space[-1] in _COLOURS and self._channels not in _COLOURS:
            raise RecipeError(
                f"The file's input is {self._input.shape}, channels last; export it with images as (N, C, space)."
            )
        if None not in (in_channels, self._channels) and in_channels != self._channels:
            raise RecipeError(
                f"The file's input is {self._input.shape}: {self._channels} channel(s), not {in_channels}."
            )
        channels = self._channels or in_channels
        if channels is None:
            raise RecipeError("The file leaves open how many channels it reads; say how many with --channels.")
        fixed = [n for n in self._space if n is not None]
        return Sight(dims, channels, tuple(fixed) if len(fixed) == dims else None)

    def check_size(self, size: tuple[int, ...] | None) -> None:
        """RecipeError unless images of ``size`` go in."""
        wanted = size or (None,) * len(self._space)
        if any(has is not None and has != want for has, want in zip(self._space, wanted, strict=True)):
            raise RecipeError(f"The file's input is {self._input.shape}; reads.size must say the same, given {size}.")

    def network(self) -> Network:
        """The program, image by image where it was exported for one."""
        return self._one_by_one if self._batch == 1 else self._run

    def _one_by_one(self, images_NCS: Tensor) -> Tensor:
        return torch.cat([self._run(image_1CS) for image_1CS in images_NCS[:, None]])

    def _run(self, images_NCS: Tensor) -> Tensor:
        try:
            (answer,) = self._session.run([self._output], {self._input.name: images_NCS.cpu().numpy()})
        except Exception as error:  # as above
            raise RuntimeError(_first_line(error)) from None
        return torch.from_numpy(np.asarray(answer, np.float32))

    def _only_input(self) -> Any:
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != _FLOAT or len(inputs[0].shape) not in (4, 5):
            listed = "; ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
            raise RecipeError(
                f"An encoder has one input of float32 images (N, C, Y, X) or (N, C, Z, Y, X); this file has: {listed}."
            )
        return inputs[0]


def _output(named: str | None, there: list[str]) -> str:
    if named is None and len(there) == 1:
        return there[0]
    if named is None:
        raise RecipeError(
            f"The file has {len(there)} outputs; say with --output which is the embedding: {', '.join(there)}."
        )
    if named not in there:
        raise RecipeError(unknown_name("output of this file", named, there))
    return named


def _check_is_whole(payload: bytes) -> None:
    """DataError for what is no ONNX, or keeps weights in other files: the checkpoint must be all there is."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(payload)
    except DecodeError:
        raise DataError("The file is no ONNX.") from None
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    for tensor in (*model.graph.initializer, *_tensors_of(nodes)):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise DataError(
                f"Weights of the file are in another one ({tensor.name}). Put them inside: "
                "onnx.save(onnx.load('FILE'), 'WHOLE.onnx', save_as_external_data=False)."
            )


def _tensors_of(nodes: Iterable[Any]) -> Iterator[Any]:
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for graph in (attribute.g, *attribute.graphs):
            yield from graph.initializer
            yield from _tensors_of(graph.node)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
