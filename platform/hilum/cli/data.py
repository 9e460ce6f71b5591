"""`hilum data`: image sets, fetched or a user's own, each with its licence, ready for ingest."""

from typing import Annotated, Any

import typer

from hilum.cli.console import reply, table
from hilum.cli.options import Json, StoreUrl

MOST_SHOWN = 10

group = typer.Typer(no_args_is_help=True, help="Public image sets: which there are, where from, and get one.")

SetName = Annotated[str, typer.Argument(metavar="SET", help="A data set's name (see `hilum data list`).")]
Folder = Annotated[
    str | None, typer.Argument(metavar="FOLDER", help="Where to put it; a folder of the set's name if not given.")
]
Prepared = Annotated[
    str | None,
    typer.Option("--as", metavar="PREPARATION", help="How to prepare it; the first of the list if not given."),
]


OwnName = Annotated[str, typer.Argument(metavar="SET", help="A set that you have: luna16, ncc, ncs, ecc, lcs or bms.")]
OwnFolder = Annotated[str, typer.Argument(metavar="FOLDER", help="Where it is, as its makers distribute it.")]
Out = Annotated[str, typer.Argument(metavar="OUT", help="Where to put what ingest reads.")]
Negatives = Annotated[
    int | None,
    typer.Option("--negatives", metavar="N", help="ncc, ecc: at most so many negatives a scan; all if not given."),
]
Fold = Annotated[int | None, typer.Option("--fold", metavar="N", help="bms: which third is tested on, 1 to 3.")]
Modality = Annotated[
    str | None,
    typer.Option(
        "--modality", metavar="NAME", help="bms: t1, t1ce, t2, flair, or all as channels; flair if not given."
    ),
]
AtlasFile = Annotated[
    str, typer.Argument(metavar="FILE", help="A NIfTI (or NRRD, MetaImage) of labels, or of probabilities from 0 to 1.")
]
AtlasLabels = Annotated[
    str | None,
    typer.Option("--labels", metavar="NUMBERS", help="Which labels are foreground: '17,53'; all but 0 if not given."),
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="What negatives, folds and sides are drawn from.")
]


@group.command("list", epilog="Example: hilum data list")
def list_(json_: Json = False) -> None:
    """List the sets: what each shows, what it can be asked, and under which licence."""
    from hilum.adapters.catalogue import entries
    from hilum.adapters.own_sets import OWN_SETS

    sets: list[dict[str, Any]] = [
        {
            "name": found.name,
            "about": found.about,
            "preparations": {name: kind.about for name, kind in found.preparations.items()},
            "licence": found.licence,
            "citation": found.citation,
            "home": found.home,
        }
        for found in entries()
    ]
    by_hand = [
        {
            "name": found.name,
            "about": found.about,
            "expects": found.expects,
            "licence": found.licence,
            "citation": found.citation,
            "home": found.home,
        }
        for found in OWN_SETS.values()
    ]
    rows: list[list[Any]] = [
        [found.name, found.about, ", ".join(found.preparations), found.licence.split(";")[0]] for found in entries()
    ]
    rows += [[found.name, found.about, "(yours to get)", found.licence.split(";")[0]] for found in OWN_SETS.values()]
    drawn = table("", ["set", "what it is", "prepared as", "licence"], rows)
    next_commands = ["hilum data fetch mednist", "hilum data prepare lcs FOLDER OUT"]
    reply(json_, {"sets": sets, "by_hand": by_hand}, drawn, next_commands=next_commands)


@group.command("where", epilog="Example: hilum data where mednist")
def where(name: SetName, json_: Json = False) -> None:
    """Say where a set would come from: installed packages, the folder HILUM_DATA_MIRROR, or the internet."""
    from hilum.adapters import catalogue

    found = catalogue.where(name)
    reply(json_, {"set": name, "where": found}, f"{name}: {found}", next_commands=[f"hilum data fetch {name}"])


@group.command("fetch", epilog="Example: hilum data fetch mednist ./mednist --as rare")
def fetch(name: SetName, folder: Folder = None, *, preparation: Prepared = None, json_: Json = False) -> None:
    """Get a set, check it against its checksum, and make it ready for ingest, with its licence beside it."""
    from pathlib import Path

    from hilum.adapters import catalogue

    known = catalogue.entry(name)
    target = Path(folder or name)
    already_done = target.exists()
    ready = catalogue.fetch(name, target, preparation=preparation)
    how = "already done" if already_done else "ready"
    data = {"set": name, "folder": str(ready), "already_done": already_done, "licence": known.licence}
    lines = [f"{name}: {how} in {ready}", f"  licence: {known.licence}", f"  cite: {known.citation}"]
    reply(json_, data, *lines, next_commands=["hilum init ./store", f"hilum ingest {ready} --store ./store"])


@group.command("prepare", epilog="Example: hilum data prepare ncc LUNA16/ ./ncc --negatives 50")
def prepare(
    name: OwnName,
    folder: OwnFolder,
    out: Out,
    *,
    negatives: Negatives = None,
    fold: Fold = None,
    modality: Modality = None,
    seed: Seed = None,
    json_: Json = False,
) -> None:
    """Make a set that you have downloaded ready for ingest; your files are only read.

    A bad case is set aside with its reason. Stopped at any moment, the same command goes on;
    typed again, it makes what is new.
    """
    from pathlib import Path

    from rich.markup import escape

    from hilum.adapters import own_preparing, own_sets
    from hilum.cli.progress import counted

    wanted = own_sets.own_set(name)
    given = {"negatives": negatives, "fold": fold, "modality": modality, "seed": seed}
    wishes = own_sets.wishes_for(wanted, given)
    done = own_preparing.prepare(wanted, Path(folder), Path(out), wishes, watch=counted)
    already_done = done.num_made == 0
    aside = [{"case": case, "reason": reason} for case, reason in done.set_aside]
    data = {
        "set": name,
        "folder": str(done.folder),
        "already_done": already_done,
        "num_cases": done.num_cases,
        "num_made": done.num_made,
        "num_images": done.num_images,
        "sides": done.num_per_side,
        "set_aside": aside,
        "licence": wanted.licence,
    }
    how = "already done" if already_done else f"{done.num_made} of {done.num_cases} cases made now"
    sides = ", ".join(f"{side} {num}" for side, num in done.num_per_side.items())
    lines = [f"{name}: {how}, {done.num_images} images in {escape(str(done.folder))} ({sides})"]
    lines += [f"  set aside: {escape(case)}: {escape(reason)}" for case, reason in done.set_aside[:MOST_SHOWN]]
    if len(done.set_aside) > MOST_SHOWN:
        lines.append(f"  … and {len(done.set_aside) - MOST_SHOWN} more, in {own_preparing.SET_ASIDE}")
    lines += [f"  licence: {escape(wanted.licence)}", f"  cite: {escape(wanted.citation)}"]
    # Scans to pretrain on are windowed and laid out as the blocks are that come after them.
    recipe = "ncc" if name == "luna16" else name
    next_commands = ["hilum init ./store", f"hilum ingest {out} --recipe {recipe} --store ./store"]
    reply(json_, data, *lines, next_commands=next_commands)


@group.command("atlas", epilog="Example: hilum data atlas liver-atlas.nii.gz --labels 1")
def atlas(file: AtlasFile, *, labels: AtlasLabels = None, store: StoreUrl = None, json_: Json = False) -> None:
    """Take in a map of where foreground is; a recipe's `score.foreground` with its id has candidates drawn by it.

    It must lie in the same world (mm) as the scans: nothing is registered here, voxels are looked up by their place.
    """
    from pathlib import Path

    from hilum.adapters.reading import read_scan
    from hilum.cli.composition import store_at
    from hilum.cli.round_steps import tell
    from hilum.core.errors import NotFoundError
    from hilum.core.recipes.importing import AtlasRecipe
    from hilum.core.sources import SourceItem
    from hilum.loop.recipe_files import checked
    from hilum.steps import atlas as taking_in

    opened = store_at(store)
    path = Path(file)
    if not path.is_file():
        raise NotFoundError(f"There is no file {file}.")
    recipe = checked(AtlasRecipe, {"labels": _numbers(labels)}, "--labels")
    image = read_scan(str(path.parent), SourceItem(path.name))
    already_done = taking_in.planned(recipe, image, opened).finished() is not None
    manifest = taking_in.run(recipe, image, store=opened)
    tell(json_, manifest, already_done, [f"put 'foreground: {{atlas: {manifest.run_id}}}' under score in a recipe"])


def _numbers(text: str | None) -> list[int]:
    from hilum.core.errors import RequestError

    try:
        return [int(number) for number in text.split(",")] if text else []
    except ValueError:
        raise RequestError(
            f"--labels takes whole numbers with commas between them, such as 17,53; given {text}."
        ) from None
