"""`hilum model import`: weights and encoders from elsewhere, by name and never by running code of theirs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli.options import Json, StoreUrl

if TYPE_CHECKING:
    from hilum.store.layout import Store
    from hilum.store.manifest import Manifest

File = Annotated[Path, typer.Argument(metavar="FILE", help="Weights, as a .safetensors file, or an encoder as .onnx.")]
Names = Annotated[
    Path | None,
    typer.Option(
        "--names",
        metavar="FILE",
        help="YAML of regular expressions and the names that what they match has in --architecture.",
    ),
]
Licence = Annotated[
    str, typer.Option("--licence", metavar="TEXT", help="Under which licence they were published; kept in the card.")
]
Architecture = Annotated[
    str | None,
    typer.Option("--architecture", metavar="KIND", help="A kind, or YAML: '{kind: unet, depth: 3, norm: batch}'."),
]
Dims = Annotated[
    int | None,
    typer.Option("--dims", metavar="N", min=2, max=3, help="2 for slices, 3 for blocks. Of weights 3 unless said."),
]
Channels = Annotated[
    int | None,
    typer.Option(
        "--channels",
        metavar="N",
        min=1,
        help="Channels of an image. Of weights 1 unless said, of timm 3; an ONNX file says its own.",
    ),
]
Timm = Annotated[
    str | None,
    typer.Option(
        "--timm", metavar="MODEL", help="The weights are of this model of timm: an encoder for score.encoder."
    ),
]
Output = Annotated[
    str | None, typer.Option("--output", metavar="NAME", help="The embedding, of an ONNX file with several outputs.")
]
Reads = Annotated[
    str | None,
    typer.Option(
        "--reads",
        metavar="YAML",
        help="What an encoder was trained to see: '{size: [224, 224], mean: [0.5], std: [0.5]}', "
        "a number a channel, of intensities 0 to 1.",
    ),
]
Sha256 = Annotated[
    str | None, typer.Option("--sha256", metavar="HEX", help="The file's SHA-256; another file is refused.")
]


def import_(
    file: File,
    *,
    licence: Licence,
    names: Names = None,
    architecture: Architecture = None,
    dims: Dims = None,
    channels: Channels = None,
    timm: Timm = None,
    output: Output = None,
    reads: Reads = None,
    sha256: Sha256 = None,
    store: StoreUrl = None,
    json_: Json = False,
) -> None:
    """Make a checkpoint of what was trained elsewhere.

    Weights with --names and --architecture are for training: a finetune with `from:` and the id starts there. An .onnx
    file, or the weights of a --timm model, are an encoder: with `encoder:` and the id under score, it embeds the
    candidates of the first round.
    """
    from hilum.cli.composition import store_at
    from hilum.cli.weight_files import ONNX, names_in, read_file, yaml_of
    from hilum.core.errors import RequestError

    opened = store_at(store)
    payload = read_file(file, sha256)
    is_onnx = file.suffix.lower() == ONNX
    shared = {"spatial_dims": dims, "in_channels": channels, "licence": licence}
    if is_onnx or timm is not None:
        _leave_out({"--names": names, "--architecture": architecture}, "weights that a training starts from")
        _leave_out({"--timm": timm} if is_onnx else {"--output": output}, "another kind of file")
        network = {"kind": "onnx", "output": output} if is_onnx else {"kind": "timm", "model": timm}
        content = {
            **shared,
            "network": {name: value for name, value in network.items() if value is not None},
            "reads": {} if reads is None else yaml_of(reads, "--reads"),
        }
        _import_encoder(opened, payload, content, json_)
        return
    _leave_out({"--output": output, "--reads": reads}, "an encoder: an .onnx file, or weights of a --timm model")
    if names is None or architecture is None:
        raise RequestError(
            f"Say what the tensors of {file.name} are: --names FILE and --architecture KIND for a network to train, "
            "or --timm MODEL for an encoder."
        )
    given = yaml_of(architecture, "--architecture")
    content = {
        **shared,
        "architecture": {"kind": given} if isinstance(given, str) else given,
        "spatial_dims": dims or 3,
        "in_channels": channels or 1,
        "names": names_in(names),
    }
    _import_weights(opened, payload, content, json_)


def _leave_out(options: dict[str, Any], whose: str) -> None:
    """RequestError for an option that means nothing here."""
    from hilum.core.errors import RequestError

    for name, value in options.items():
        if value is not None:
            raise RequestError(f"{name} is for {whose}; leave it out.")


def _import_encoder(store: "Store", payload: bytes, content: dict[str, Any], json_: bool) -> None:
    from hilum.cli.round_steps import tell
    from hilum.core.recipes.importing import EncoderRecipe
    from hilum.loop.recipe_files import checked
    from hilum.steps import import_encoder
    from hilum.steps.import_weights import STEP, STEP_VERSION, inputs_of
    from hilum.store.manifest import Run

    recipe = checked(EncoderRecipe, content, "import")
    there = Run(store, STEP, STEP_VERSION, recipe, inputs_of(payload))
    already_done = there.finished() is not None
    manifest = import_encoder.run(recipe, payload, store=store)
    next_command = f"put 'encoder: {manifest.run_id}' under score in a campaign's recipe"
    reads = {name: value for name, value in manifest.results["reads"].items() if value is not None}
    listed = [f"  {name}: {value}" for name, value in reads.items()]
    tell(json_, manifest, already_done, [next_command], *listed, *_not_used(manifest))


def _import_weights(store: "Store", payload: bytes, content: dict[str, Any], json_: bool) -> None:
    from hilum.cli.round_steps import tell
    from hilum.core.recipes.importing import ImportRecipe
    from hilum.loop.recipe_files import checked
    from hilum.steps import import_weights
    from hilum.store.manifest import Run

    recipe = checked(ImportRecipe, content, "import")
    there = Run(store, import_weights.STEP, import_weights.STEP_VERSION, recipe, import_weights.inputs_of(payload))
    already_done = there.finished() is not None
    manifest = import_weights.run(recipe, payload, store=store)
    next_command = f"put 'from: {manifest.run_id}' under finetune in a campaign's recipe"
    tell(json_, manifest, already_done, [next_command], *_not_used(manifest))


def _not_used(manifest: "Manifest") -> list[str]:
    unused = manifest.results["unused"]
    return [f"not used: {', '.join(unused)}"] if unused else []
