"""`hilum plan`: from what was ingested to a campaign recipe that says why."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hilum.cli.console import reply
from hilum.cli.options import Address, Ingest, Json, On, StoreUrl
from hilum.core.errors import ConflictError

if TYPE_CHECKING:
    from hilum.core.fingerprint import Fingerprint
    from hilum.loop.planning import Plan

Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to put the recipe.")]
MemorySize = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="What a training may use, such as 8GiB. If not given, nine tenths of this GPU's; without one 2 GiB.",
    ),
]
AskedFor = Annotated[
    Literal["classify", "segment"] | None,
    typer.Option("--question", help="What will be asked, if the images do not say it by their answers."),
]
AsIngested = Annotated[
    bool, typer.Option("--as-ingested", help="Plan for the images as they are; do not prepare them anew.")
]


def plan(
    *,
    store: StoreUrl = None,
    ingest: Ingest = None,
    memory: MemorySize = None,
    question: AskedFor = None,
    as_ingested: AsIngested = False,
    out: Out = Path("plan.yaml"),
    on: On = "local",
    address: Address = None,
    json_: Json = False,
) -> None:
    """Read what was ingested and write a recipe for it, each choice with its reason.

    Target spacing, window, patch, batch, depth and network follow from spacings, sizes, grey levels
    and classes, and from the memory at hand. Patients of the test side are not looked at.
    """
    from hilum.cli.composition import engine, store_at
    from hilum.cli.planning import at_hand, step_bytes
    from hilum.core.fingerprint import FingerprintRecipe
    from hilum.core.recipes import PrepareRecipe
    from hilum.loop.choices import check_choices
    from hilum.loop.definition import only_ingest
    from hilum.loop.plan_files import as_commented_yaml
    from hilum.loop.planning import planned
    from hilum.steps import fingerprint
    from hilum.store.layout import require
    from hilum.store.manifest import read_manifest

    opened = store_at(store)
    ingest_id = ingest or only_ingest(opened)
    ingested = read_manifest(require(opened.run("ingest", ingest_id), f"ingest '{ingest_id}'"))
    given = at_hand(memory)
    ready = engine(on=on, address=address)
    manifest = fingerprint.run(
        FingerprintRecipe(), {"ingest": ingest_id}, store=opened, executor=ready.executor, resources=ready.resources
    )
    found = fingerprint.read_fingerprint(manifest)
    made = planned(
        found,
        memory=given,
        step_bytes=step_bytes(found),
        question=question,
        ingested=PrepareRecipe.model_validate(ingested.recipe.get("prepare", {})),
        as_ingested=as_ingested,
    )
    check_choices(made.recipe)
    new = _written(out, as_commented_yaml(made, found, ingest_id=ingest_id, memory=given))
    data: dict[str, Any] = {"ingest_id": ingest_id, "already_done": not new, "memory_bytes": given.num_bytes}
    _tell(made, found, data, out=out, at=f" --store {store}" if store else "", json_=json_)


def _tell(made: "Plan", found: "Fingerprint", data: dict[str, Any], *, out: Path, at: str, json_: bool) -> None:
    """What was planned and why, and what to type next."""
    data |= {"file": str(out), "notes": made.notes, "prepares_anew": made.prepares_anew}
    data |= {"fingerprint": found.model_dump(mode="json"), "plan": made.content, "reasons": made.reasons}
    first = f"plan: already done, {out}" if data["already_done"] else f"plan: {out}"
    lines = [f"  {path}: {why}" for path, why in made.reasons.items()] + [f"  note: {note}" for note in made.notes]
    labelled = found.num_labelled == found.num_volumes or found.num_classified == found.num_items
    follow = f"hilum simulate {out}{at}" if labelled else f"hilum campaign create my-campaign --recipe {out}{at}"
    again = [f"hilum ingest FILES --recipe {out}{at}"] * made.prepares_anew
    reply(json_, data, first, *lines, next_commands=[*again, follow])


def _written(out: Path, text: str) -> bool:
    """Write the plan; False when the very same is there. What a person changed is never written over."""
    from hilum.store.manifest import write_bytes

    if out.exists():
        if out.read_text(encoding="utf-8") == text:
            return False
        raise ConflictError(f"{out} is there and is not this plan. Give another --out, or remove the file.")
    write_bytes(str(out.absolute()), text.encode(), only_if_absent=True)
    return True
