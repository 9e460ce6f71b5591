"""An exported model under onnxruntime: it answers as a `Predictor` does, so that it is judged as one."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.nn.export import INPUT, require_onnx, with_metadata
from hilum.nn.predictor import SINGLE

Floats = npt.NDArray[np.float32]

_PROVIDERS = ["CPUExecutionProvider"]
_ERRORS_ONLY = 3


def session_of(payload: bytes, *, num_threads: int) -> Any:
    """onnxruntime's session of a model's bytes, on the processor."""
    require_onnx()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
    options.log_severity_level = _ERRORS_ONLY
    return onnxruntime.InferenceSession(payload, options, providers=_PROVIDERS)


class OnnxPredictor:
    """Bytes of a model and the card it was exported from; one thread, so that timings compare."""

    def __init__(self, payload: bytes, card: Mapping[str, Any]) -> None:
        self.card = dict(card)
        self._session = session_of(payload, num_threads=1)

    @property
    def num_classes(self) -> int:
        return int(self.card["num_classes"])

    def run(self, images_NCS: Floats) -> Floats:
        """Probabilities of images as the file itself takes them."""
        (probs,) = self._session.run(None, {INPUT: images_NCS})
        answer: Floats = probs
        return answer

    def predict(self, images_NCZYX: Floats, *, members: Choice = SINGLE, seed: int = 0) -> Floats:  # noqa: ARG002
        """Probabilities (1, N, C) or (1, N, C, Z, Y, X), as `Predictor.predict` gives them; it has one opinion."""
        if members.kind != SINGLE.kind:
            raise RecipeError(f"An exported model answers alone; members '{members.kind}' need the checkpoint itself.")
        flat = self.card["spatial_dims"] == 2
        probs = self.run(np.ascontiguousarray(images_NCZYX[:, :, 0] if flat else images_NCZYX, dtype=np.float32))
        answer: Floats = (probs[:, :, None] if flat and probs.ndim == 4 else probs)[None]
        return answer


def quantised(payload: bytes, about: Mapping[str, str], images: Sequence[Floats]) -> bytes:
    """The model with 8-bit convolutions: QDQ, weights a channel, ranges of activations from ``images`` (N, C, S)."""
    require_onnx()
    import onnx
    from onnxruntime import quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="hilum-int8-") as folder:
        plain, prepared, small = (Path(folder, name) for name in ("plain.onnx", "prepared.onnx", "int8.onnx"))
        plain.write_bytes(payload)
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        q.quantize_static(
            str(prepared),
            str(small),
            _Images(images),
            quant_format=q.QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "ConvTranspose"],
            per_channel=True,
            activation_type=q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8,
        )
        return with_metadata(onnx.load(str(small)), about)


class _Images:
    """One image after another, in the form in which onnxruntime asks for them."""

    def __init__(self, images: Sequence[Floats]) -> None:
        self._rest = iter(images)

    def get_next(self) -> dict[str, Floats] | None:
        image = next(self._rest, None)
        return None if image is None else {INPUT: image}
