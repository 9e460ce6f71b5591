"""`hilum predict`: what a model says of files, here and now, without a service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli.console import reply, table
from hilum.cli.options import Json, StoreUrl
from hilum.core.errors import DataError, HilumError, RequestError

if TYPE_CHECKING:
    from hilum.adapters.dicom_results import SourceImages
    from hilum.core.sources import ReadImage
    from hilum.loop.answering.telling import FileFormat
    from hilum.nn.engine import Engine

Images = Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="Image files; a folder is one DICOM series.")]
Model = Annotated[
    str, typer.Option("--model", metavar="MODEL", help="name, name@alias or name:checkpoint; a model is its campaign.")
]
Out = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where label maps are written.")]
Format = Annotated[
    str,
    typer.Option(
        "--format", help="nifti, npy, png, ome-zarr or dicom-seg, of label maps; dicom-seg of DICOM images only."
    ),
]
QualityOf = Annotated[
    str | None, typer.Option("--quality", help="fast, balanced or accurate, of a network of several depths.")
]
Mirrors = Annotated[int | None, typer.Option("--mirrors", min=2, max=8, help="The mean over so many mirror images.")]
Beside = Annotated[
    list[str],
    typer.Option(
        "--beside",
        metavar="VERSION",
        help="Another version that answers together with it, as @alias or :checkpoint; may be repeated.",
    ),
]
_MAX_BYTES = 8 << 30


def predict(
    images: Images,
    *,
    model: Model,
    out: Out = Path("answers"),
    format_: Format = "nifti",
    quality: QualityOf = None,
    mirrors: Mirrors = None,
    beside: Beside = [],  # noqa: B006 (typer's default of a list)
    store: StoreUrl = None,
    json_: Json = False,
) -> None:
    """Say what is on images, or where: classes are printed, label maps written, each on its image's own grid.

    An image that cannot be answered is named with its reason, and the others go on.
    """
    from typing import get_args

    from hilum.cli.composition import ledger_of, store_at
    from hilum.loop.answering.shelf import Quality, Shelf
    from hilum.loop.answering.telling import FILE_FORMATS
    from hilum.loop.answering.versions import checkpoint_of, pinned, reference, version_of
    from hilum.nn.engine import Engine

    chosen_format = _one_of("--format", format_, FILE_FORMATS)
    chosen_quality = None if quality is None else _one_of("--quality", quality, get_args(Quality))
    opened, asked = store_at(store), reference(model)
    ledger = ledger_of(opened)
    version = version_of(opened, asked.model, checkpoint_of(opened, ledger, asked))
    others = [one.removeprefix(":") for one in pinned(opened, ledger, version, beside)]
    versions = [version, *(version_of(opened, asked.model, one) for one in others)]
    if version.question == "segment":
        _check_targets([(file, _target(file, out, chosen_format)) for file in images])
    shelf = Shelf(opened, num_kept=len(versions))
    depth = None if chosen_quality is None else shelf.depth_for(version, chosen_quality)
    by = [(one, shelf.predictor(one, depth)) for one in versions]
    how = {"by": by, "depth": depth, "mirrors": mirrors}
    with Engine() as engine:
        rows = [_answered(file, engine, how, out, chosen_format) for file in images]
    failed = [row for row in rows if row["error"]]
    shown = ["image", "answer", "uncertainty", "error"] if failed else ["image", "answer", "uncertainty"]
    drawn = table("", shown, [[row[column] for column in shown] for row in rows])
    note = f"{len(failed)} of {len(rows)} images could not be answered." if failed else ""
    who = {"model": version.model, "version": version.checkpoint_id, "beside": others}
    reply(json_, {**who, "answers": rows}, drawn, note=note)
    if failed:
        raise typer.Exit(2)


def _answered(file: Path, engine: "Engine", how: dict[str, Any], out: Path, wanted: "FileFormat") -> dict[str, Any]:
    """One row: what was answered, or why not."""
    from hilum.core.recipes import Choice
    from hilum.loop.answering.answer import Question
    from hilum.loop.answering.ensemble import Ensemble
    from hilum.loop.answering.telling import as_file, classified
    from hilum.store.manifest import write_bytes

    row: dict[str, Any] = {"image": str(file), "answer": None, "uncertainty": None, "error": None}
    members = None if how["mirrors"] is None else Choice(kind="mirrors", num_members=how["mirrors"])
    try:
        image, source = _read(file, with_source=wanted == "dicom-seg" and how["by"][0][0].question == "segment")
        more = {"depth": how["depth"], "members": members, "max_bytes": _MAX_BYTES}
        together = Ensemble([Question(image, version, predictor, **more) for version, predictor in how["by"]])
        together.submit(engine)
        answer = together.answer()
        content = b"" if answer.label_map_zyx is None else as_file(answer, wanted, source)
    except HilumError as error:
        return {**row, "error": str(error)}
    row["uncertainty"] = round(answer.uncertainty, 4)
    if answer.label_map_zyx is None:
        said = classified(answer)
        return {**row, "answer": said["class"], "probabilities": said["probabilities"]}
    target = _target(file, out, wanted)
    write_bytes(str(target.absolute()), content)
    return {**row, "answer": str(target)}


def _target(file: Path, out: Path, wanted: "FileFormat") -> Path:
    from hilum.loop.answering.telling import ENDINGS

    return out / f"{_stem(file)}{ENDINGS[wanted]}"


def _check_targets(pairs: list[tuple[Path, Path]]) -> None:
    """RequestError where an answer would be written over an image, or over another's answer."""
    taken = {file.resolve(): file for file, _ in pairs}
    for file, target in pairs:
        other = taken.setdefault(target.resolve(), file)
        if other is not file or target.resolve() == file.resolve():
            raise RequestError(
                f"The answer to {file} would be written to {target}, and so over {other} or its answer; "
                "give another --out, or images of one name one at a time."
            )


def _read(file: Path, *, with_source: bool) -> "tuple[ReadImage, SourceImages | None]":
    """The image in a file, or in a folder's one DICOM series; and what a DICOM segmentation of it refers to."""
    from hilum.adapters.bodies import dicom_files, read_body, read_series
    from hilum.adapters.dicom_results import SourceImages

    try:
        if file.is_dir():
            files = [one.read_bytes() for one in sorted(file.iterdir()) if one.is_file()]
            image = read_series(files, max_bytes=_MAX_BYTES)
        else:
            body = file.read_bytes()
            image = read_body(body, max_bytes=_MAX_BYTES)
            files = list(dicom_files(body, max_bytes=_MAX_BYTES)) if with_source else []
    except OSError as error:
        raise DataError(f"It cannot be read ({error.strerror}).") from None
    return image, SourceImages(files, max_bytes=_MAX_BYTES) if with_source else None


def _stem(file: Path) -> str:
    from hilum.adapters.endings import ending

    return file.name[: len(file.name) - len(ending(file.name))] or file.name


def _one_of(option: str, given: str, allowed: tuple[Any, ...]) -> Any:
    if given not in allowed:
        raise RequestError(f"{option} is one of {', '.join(allowed)}; given {given!r}.")
    return given
