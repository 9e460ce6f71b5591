"""`hilum init`, `hilum ingest` and `hilum doctor`: a store is made, filled and looked after."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from hilum.cli.boundary import PARTLY
from hilum.cli.console import reply, table
from hilum.cli.options import Address, Json, On, StoreUrl

if TYPE_CHECKING:
    from hilum.store.layout import Store

Folder = Annotated[str, typer.Argument(metavar="URL", help="A folder, or a URL such as s3://bucket/prefix.")]
Where = Annotated[
    str,
    typer.Argument(
        metavar="FILES",
        help="A folder, a file, a pattern such as 'scans/**/*.nii.gz', a URL of these, or a search in a PACS: "
        "'dicomweb+https://HOST/PATH?PatientID=…'.",
    ),
]
ForRecipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="RECIPE",
        help="Prepare scans as this campaign recipe's 'ingest' says (ingest.prepare: orientation, crop_to_body, "
        "spacing_mm_zyx, window), and lay the voxels out for its patches.",
    ),
]
MaxGib = Annotated[
    float | None,
    typer.Option(
        "--max-gib",
        metavar="GIB",
        help="Refuse files that hold more than this, packed or unpacked, before they get memory; 8 if not given.",
    ),
]
MOST_SHOWN = 100
"""Files set aside that are listed one by one; of more, the commonest reasons. `--json` lists all."""
MOST_REASONS = 10
MappingOut = Annotated[
    Path | None,
    typer.Option(
        "--mapping",
        metavar="FILE",
        help="Also keep who is behind each pseudonym, in this encrypted file outside the store "
        "(HILUM_MAPPING_PASSPHRASE opens it); nothing is kept if not given.",
    ),
]
Lookalikes = Annotated[
    bool,
    typer.Option("--lookalikes", help="Also compare how images look: copies under two patients, leaks across sides."),
]
Rebuild = Annotated[bool, typer.Option("--rebuild", help="Write a lost ledger again from the store's events.")]


def init(url: Folder = ".", json_: Json = False) -> None:
    """Make a store: the folder that holds images, answers, models and every run."""
    from hilum.store.opening import create_store

    store, is_new = create_store(url)
    at = "" if url == "." else f" --store {url}"
    how = "made" if is_new else "already done"
    data = {"store": store.url, "already_done": not is_new}
    reply(json_, data, f"store {store.url}: {how}", next_commands=[f"hilum ingest FOLDER{at}"])


def ingest(
    files: Where,
    *,
    store: StoreUrl = None,
    recipe: ForRecipe = None,
    max_gib: MaxGib = None,
    mapping: MappingOut = None,
    on: On = "local",
    address: Address = None,
    json_: Json = False,
) -> None:
    """Take images in, with their label maps or classes. A bad file is set aside with its reason; the rest goes on.

    A folder may have an index.csv (image, label, class, patient, side), or images/ beside labels/. When
    something was set aside the exit code is 5. Scans are stored as they are unless the recipe of --recipe
    says how to prepare them: 'ingest: {prepare: {orientation: LPS, spacing_mm_zyx: [3, 1, 1]}}'.
    """
    from hilum.adapters.folders import find_source
    from hilum.cli.audit import record_run
    from hilum.cli.composition import engine, store_at
    from hilum.cli.identity import check_mapping, keep_mapping
    from hilum.cli.pacs import files_at
    from hilum.cli.reading import finished_ingest, ingest_recipe, run_ingest

    opened = store_at(store)
    wanted = ingest_recipe(recipe, max_gib=max_gib)
    check_mapping(mapping, opened)
    with files_at(files) as place:
        source = find_source(place)
        manifest = finished_ingest(opened, wanted, source)
        already_done = manifest is not None
        if manifest is None:
            manifest = run_ingest(opened, wanted, source, engine(on=on, address=address))
        keep_mapping(mapping, opened, source, max_bytes=wanted.max_bytes)
    record_run(opened, manifest)
    _tell_ingest(opened, manifest, source, already_done=already_done, store=store, json_=json_)


def _tell_ingest(
    opened: "Store", manifest: Any, source: Any, *, already_done: bool, store: str | None, json_: bool
) -> None:
    from hilum.cli.round_steps import facts
    from hilum.steps.ingest import quarantined_files

    refused = quarantined_files(opened, manifest, source) if manifest.results["num_quarantined"] else []
    how = "already done" if already_done else "done"
    # The long list first: what is read is what stands last on a screen.
    lines: list[Any] = [*_set_aside(refused), f"ingest {manifest.run_id}: {how}", *facts(manifest.results)]
    data = {
        "step": "ingest",
        "run_id": manifest.run_id,
        "already_done": already_done,
        "results": manifest.results,
        "quarantined": [{"file": file, "reason": reason} for file, reason in refused],
    }
    at = f" --store {store}" if store else ""
    following = ["hilum recipe list", f"hilum campaign create NAME --recipe RECIPE{at}"]
    if manifest.results["num_patients"] > 1:
        # It reads planes of every image, so it is not done unasked.
        following.insert(0, f"hilum doctor --lookalikes{at}")
    # Once repaired they make another list of files, and so another ingest; volumes that are in are not read twice.
    advice = "Repair or remove what was set aside and ingest the folder again, or go on without it." if refused else ""
    reply(json_, data, *lines, next_commands=following, note=advice)
    if refused:
        raise typer.Exit(PARTLY)


def _set_aside(refused: Sequence[tuple[str, str]]) -> list[str]:
    """A line for every file, so that it can be searched for; a terminal breaks long ones where it likes."""
    if not refused:
        return []
    lines = ["Set aside, with the reason:"]
    lines += [f"  [cyan]{escape(file)}[/]: {escape(reason)}" for file, reason in refused[:MOST_SHOWN]]
    if more := refused[MOST_SHOWN:]:
        lines.append(f"… and {len(more)} more, which --json lists; their commonest reasons:")
        commonest = Counter(reason for _, reason in more).most_common(MOST_REASONS)
        lines += [f"  {count} × {escape(reason)}" for reason, count in commonest]
    return lines


def doctor(
    store: StoreUrl = None, rebuild: Rebuild = False, lookalikes: Lookalikes = False, json_: Json = False
) -> None:
    """Look a store over: its format, its ledger, every file of every run and every chunk of every volume."""
    from hilum.cli.audit import record
    from hilum.cli.composition import ledger_of, store_at
    from hilum.cli.health import (
        advice,
        damaged_places,
        damaged_volumes,
        first_reasons,
        key_of_pseudonyms,
        ledger_places,
        machine,
    )
    from hilum.store.layout import FORMAT_VERSION

    opened = store_at(store)
    here = machine()
    lines: list[Any] = [table("", ["this machine", ""], list(here.items()))]
    if rebuild:
        from hilum.loop.rebuild import rebuild_ledger

        places = rebuild_ledger(opened, ledger=ledger_of(opened))
        record(opened, "rebuilt the ledger", num_campaigns=len(places))
        lines.append(f"ledger: written again, {len(places)} campaigns")
    places, untold = ledger_places(opened)
    lines += [untold] if untold else []
    lines.append(table("Ledger", ["campaign", "round", "stage"], [[p.name, p.round_number, p.stage] for p in places]))
    lines.append(f"store {opened.url}: format {FORMAT_VERSION}")
    told_key, wrong_key = key_of_pseudonyms(opened)
    num_checked, damaged = damaged_places(opened)
    num_volumes, broken = damaged_volumes(opened)
    lines.append(told_key)
    lines.append(f"{num_checked} runs, models and label sets checked, {len(damaged)} damaged")
    lines.append(f"{num_volumes} volumes checked, {len(broken)} damaged")
    wrong = [*wrong_key, *damaged, *broken]
    data = {
        "store": opened.url,
        "format_version": FORMAT_VERSION,
        "machine": here,
        "rebuilt": rebuild,
        "campaigns": [{"name": p.name, "round": p.round_number, "stage": p.stage} for p in places],
        "num_checked": num_checked,
        "num_volumes": num_volumes,
        "damaged": [{"place": d.place, "reasons": list(d.reasons)} for d in wrong],
    }
    if wrong:
        lines.append(table("Damaged", ["where", "what"], first_reasons(wrong)))
    if lookalikes:
        from hilum.cli.identity import told_lookalikes

        lines += told_lookalikes(opened, data)
    reply(json_, data, *lines, note=advice(runs=bool(damaged), volumes=bool(broken), key=bool(wrong_key)))
    if wrong:
        raise typer.Exit(4)
