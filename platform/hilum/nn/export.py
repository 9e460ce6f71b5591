"""A network as a program of its own: ONNX, or `torch.export`. One file for every batch and every size.

The program takes normalised images (N, C, Y, X) or (N, C, Z, Y, X) as float32 and answers with
probabilities, classes on axis 1. Padding to the network's multiple and cropping back are inside.
"""

import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from hilum.core.errors import RequestError
from hilum.nn.heads import Network

INPUT, OUTPUT = "images", "probabilities"
# Sizes to trace with: all different, none of them 0 or 1, which an exporter takes for constants.
_TRACED_BATCH, _TRACED_SIZES = 3, (19, 37, 41)
_CARD_FILE = "hilum.json"


class Probabilities(nn.Module):
    """What leaves: the network and the softmax behind it."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return torch.softmax(self.network(images).float(), dim=1)


def exported_program(network: Network, card: Mapping[str, Any]) -> ExportedProgram:
    """The network's program with its batch and every size left open."""
    model = Probabilities(network.to("cpu").eval())
    sizes = _TRACED_SIZES[: card["spatial_dims"]]
    images = torch.zeros(_TRACED_BATCH, card["in_channels"], *sizes)
    open_axes = dict.fromkeys((0, *range(2, images.ndim)), Dim.DYNAMIC)
    with _quiet():
        program = torch.export.export(model, (images,), dynamic_shapes=(open_axes,))
    _forget_lines(program)
    return program


def torch_bytes(program: ExportedProgram, about: Mapping[str, str]) -> bytes:
    """The program as a .pt2 archive, with ``about`` as a JSON file inside."""
    # Example inputs would be the one pickled member of the archive.
    program._example_inputs = None
    sink = io.BytesIO()
    torch.export.save(program, sink, extra_files={_CARD_FILE: json.dumps(dict(about), indent=1)})
    return sink.getvalue()


def onnx_bytes(program: ExportedProgram, about: Mapping[str, str]) -> bytes:
    """The program as ONNX, with ``about`` among its metadata."""
    require_onnx()
    with _quiet():
        made = torch.onnx.export(program, dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False)
    assert made is not None
    proto = made.model_proto
    _name_axes(proto)
    _forget_source(proto)
    return with_metadata(proto, about)


def with_metadata(proto: Any, about: Mapping[str, str]) -> bytes:
    """A model's bytes, with ``about`` for its only metadata."""
    del proto.metadata_props[:]
    for key, value in about.items():
        proto.metadata_props.add(key=key, value=value)
    return bytes(proto.SerializeToString())


def require_onnx() -> None:
    """RequestError, with what to install, unless the extra is there."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise RequestError(
            f"ONNX needs a package that is not installed ({error.name}): pip install 'hilum[export]'. "
            "--to torch needs none."
        ) from None


def _name_axes(proto: Any) -> None:
    """Names for the open axes that a person can read, on both sides."""
    for value in (*proto.graph.input, *proto.graph.output):
        dims = value.type.tensor_type.shape.dim
        space = ("z", "y", "x")[5 - len(dims) :] if len(dims) > 2 else ()
        for dim, name in zip(dims, ("batch", "", *space), strict=True):
            if name:
                dim.Clear()
                dim.dim_param = name


def _forget_lines(program: ExportedProgram) -> None:
    """Drop what the tracer noted of source files: they are places on this machine."""
    for module in program.graph_module.modules():
        for node in getattr(module, "graph", torch.fx.Graph()).nodes:
            node.meta.pop("stack_trace", None)


def _forget_source(proto: Any) -> None:
    """Drop the exporter's notes on every node: lines of source files of the machine it ran on."""
    graph = proto.graph
    for noted in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del noted.metadata_props[:]
        noted.doc_string = ""


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells its own authors of things that nobody else can act on."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        log.setLevel(level)
