"""`hilum model import`: weights from elsewhere, by name and never by running them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hilum.cli.options import Json, StoreUrl

File = Annotated[Path, typer.Argument(metavar="FILE", help="The weights, as a .safetensors file.")]
Names = Annotated[
    Path,
    typer.Option(
        "--names",
        metavar="FILE",
        help="YAML of regular expressions and the names that what they match has in the architecture.",
    ),
]
Licence = Annotated[
    str, typer.Option("--licence", metavar="TEXT", help="Under which licence they were published; kept in the card.")
]
Architecture = Annotated[
    str,
    typer.Option("--architecture", metavar="KIND", help="A kind, or YAML: '{kind: unet, depth: 3, norm: batch}'."),
]
Dims = Annotated[int, typer.Option("--dims", metavar="N", min=2, max=3, help="2 for slices, 3 for blocks.")]
Channels = Annotated[int, typer.Option("--channels", metavar="N", min=1, help="Channels of an image.")]

_ENDING = ".safetensors"
_TORCH = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".model")
_KERAS = (".h5", ".hdf5", ".keras")


def import_(
    file: File,
    *,
    names: Names,
    licence: Licence,
    architecture: Architecture,
    dims: Dims = 3,
    channels: Channels = 1,
    store: StoreUrl = None,
    json_: Json = False,
) -> None:
    """Make a checkpoint of weights that were trained elsewhere; a finetune with `from:` and its id starts there."""
    from hilum.cli.composition import store_at
    from hilum.cli.round_steps import tell
    from hilum.core.recipes.importing import ImportRecipe
    from hilum.loop.recipe_files import checked
    from hilum.steps import import_weights
    from hilum.store.manifest import Run

    opened = store_at(store)
    payload = _read(file)
    content = {
        "architecture": _yaml(architecture, "--architecture"),
        "spatial_dims": dims,
        "in_channels": channels,
        "names": list(_mapping(_yaml(_text(names), str(names)), names).items()),
        "licence": licence,
    }
    if isinstance(content["architecture"], str):
        content["architecture"] = {"kind": content["architecture"]}
    recipe = checked(ImportRecipe, content, "import")
    there = Run(opened, import_weights.STEP, import_weights.STEP_VERSION, recipe, import_weights.inputs_of(payload))
    already_done = there.finished() is not None
    manifest = import_weights.run(recipe, payload, store=opened)
    unused = manifest.results["unused"]
    listed = [f"not used: {', '.join(unused)}"] if unused else []
    tell(
        json_, manifest, already_done, [f"put 'from: {manifest.run_id}' under finetune in a campaign's recipe"], *listed
    )


def _read(file: Path) -> bytes:
    from hilum.core.errors import NotFoundError, RequestError

    ending = file.suffix.lower()
    if ending in (*_TORCH, *_KERAS):
        raise RequestError(f"{file.name} is not read: {_why(ending)}")
    if ending != _ENDING:
        raise RequestError(f"Weights are read from {_ENDING} files; {file.name} is none.")
    if not file.is_file():
        raise NotFoundError(f"There is no file {file}.")
    return file.read_bytes()


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


def _text(file: Path) -> str:
    from hilum.core.errors import RequestError

    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"The names in {file} cannot be read: {error}.") from None


def _yaml(text: str, source: str) -> Any:
    import yaml

    from hilum.core.errors import RequestError

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RequestError(f"{source} is not readable YAML: {' '.join(str(error).split())}.") from None


def _mapping(content: Any, file: Path) -> dict[str, str]:
    from hilum.core.errors import RequestError

    if isinstance(content, dict) and content and all(isinstance(x, str) for pair in content.items() for x in pair):
        return content
    raise RequestError(
        f"{file} must map regular expressions to names, such as 'down1\\.conv\\.(weight|bias)': "
        "'body.encoder.blocks.0.0.\\1'."
    )
