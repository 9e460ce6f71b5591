"""Files of weights and encoders as `hilum model import` reads them: what could run code is refused."""

import hashlib
from pathlib import Path
from typing import Any

import yaml

from hilum.core.errors import DataError, NotFoundError, RequestError

ONNX = ".onnx"
_ENDING = ".safetensors"
_TORCH = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".model")
_KERAS = (".h5", ".hdf5", ".keras")


def read_file(file: Path, sha256: str | None = None) -> bytes:
    """The bytes of a .safetensors or .onnx file; DataError unless they have the SHA-256 that was given."""
    ending = file.suffix.lower()
    if ending in (*_TORCH, *_KERAS):
        raise RequestError(f"{file.name} is not read: {_why(ending)}")
    if ending not in (_ENDING, ONNX):
        raise RequestError(f"Weights are read from {_ENDING} files and encoders from {ONNX}; {file.name} is none.")
    if not file.is_file():
        raise NotFoundError(f"There is no file {file}.")
    payload = file.read_bytes()
    digest = hashlib.sha256(payload).hexdigest()
    if sha256 is not None and digest != sha256.strip().lower():
        raise DataError(f"{file.name} has the SHA-256 {digest}, not {sha256}: it is another file, or damaged.")
    return payload


def names_in(file: Path) -> list[tuple[str, str]]:
    """The pairs of expressions and names in a YAML file."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"The names in {file} cannot be read: {error}.") from None
    content = yaml_of(text, str(file))
    if isinstance(content, dict) and content and all(isinstance(x, str) for pair in content.items() for x in pair):
        return list(content.items())
    raise RequestError(
        f"{file} must map regular expressions to names, such as 'down1\\.conv\\.(weight|bias)': "
        "'body.encoder.blocks.0.0.\\1'."
    )


def yaml_of(text: str, source: str) -> Any:
    """What a text of YAML says."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RequestError(f"{source} is not readable YAML: {' '.join(str(error).split())}.") from None


def _why(ending: str) -> str:
    if ending in _KERAS:
        return (
            "Keras weights have other axes, and a model file may hold code. Where you trust it, read it with h5py, "
            "turn kernels to (out, in, voxels) and write them with safetensors.numpy.save_file."
        )
    return (
        "it may hold a pickle, and loading one runs whatever code is in it. Where you trust it, convert it once: "
        'python -c "import torch, safetensors.torch as s; '
        "w = torch.load('FILE', map_location='cpu', weights_only=True); s.save_file("
        "{k: v.contiguous() for k, v in w.get('state_dict', w).items()}, 'FILE.safetensors')\""
    )
