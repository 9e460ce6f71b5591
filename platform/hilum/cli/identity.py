"""Who is behind a pseudonym, for who keeps the mapping; and images that look the same under two names."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli.console import reply, table
from hilum.cli.options import Json
from hilum.cli.progress import counted

if TYPE_CHECKING:
    from hilum.core.sources import Source
    from hilum.store.layout import Store
    from hilum.store.lookalikes import Look

MOST_PAIRS_SHOWN = 20

Pseudonym = Annotated[
    str, typer.Argument(metavar="PSEUDONYM", help="A patient_id, a study_id or a quarantined source.")
]
MappingFile = Annotated[
    Path, typer.Option("--mapping", metavar="FILE", help="The file that `hilum ingest --mapping` wrote.")
]


def whois(pseudonym: Pseudonym, *, mapping: MappingFile, json_: Json = False) -> None:
    """Say who is behind a pseudonym, with the encrypted mapping and HILUM_MAPPING_PASSPHRASE."""
    from hilum.core.errors import NotFoundError
    from hilum.store.mapping import identity_behind, passphrase, read_mapping

    found = identity_behind(read_mapping(mapping, secret=passphrase()), pseudonym)
    if not found:
        raise NotFoundError(f"The mapping has no pseudonym '{pseudonym}'; it may belong to another store's key.")
    data = {"pseudonym": pseudonym, "identities": [{"kind": kind, "identity": identity} for kind, identity in found]}
    reply(json_, data, *(f"{kind}: {identity.removeprefix('file:')}" for kind, identity in found))


def check_mapping(path: Path | None, store: "Store") -> None:
    """Refuse a mapping that could not be written, before hours of ingest."""
    if path is not None:
        from hilum.store.mapping import check_place, passphrase, read_mapping

        check_place(path, store)
        if path.exists():
            read_mapping(path, secret=passphrase())
        else:
            passphrase()


def keep_mapping(path: Path | None, store: "Store", source: "Source", *, max_bytes: int) -> None:
    """Add everybody in ``source`` to the mapping, if one is kept."""
    if path is not None:
        from hilum.adapters.identities import identities_of
        from hilum.store.identity import identity_key
        from hilum.store.mapping import extend_mapping, passphrase

        found = identities_of(source, identity_key(store), max_bytes=max_bytes)
        extend_mapping(path, found, secret=passphrase())


def told_lookalikes(store: "Store", data: dict[str, Any]) -> list[Any]:
    """Lines about images that look the same under two names; all of them go into ``data``."""
    from hilum.store.lookalikes import every_volume, lookalikes, looks

    num_volumes = len(every_volume(store))
    found = [look for some in counted(looks(store), num_volumes, "looking") for look in some]
    pairs = lookalikes(found)
    data["lookalikes"] = [
        {
            "one": _where(pair.one),
            "other": _where(pair.other),
            "crosses_sides": pair.crosses_sides,
            "correlation": pair.correlation,
        }
        for pair in pairs
    ]
    num_crossing = sum(pair.crosses_sides for pair in pairs)
    lines: list[Any] = [
        f"{len(found)} images compared: {len(pairs)} pairs of different patients look the same, "
        f"{num_crossing} across sides"
    ]
    if pairs:
        rows = [[_named(p.one), _named(p.other), f"{p.correlation:.3f}"] for p in pairs[:MOST_PAIRS_SHOWN]]
        lines.append(table("Look the same", ["image (side)", "image (side)", "alike"], rows))
    if len(pairs) > MOST_PAIRS_SHOWN:
        lines.append(f"… and {len(pairs) - MOST_PAIRS_SHOWN} more; --json lists all of them.")
    if pairs:
        lines.append(
            "Of a true copy, take one file out, or give both one patient in index.csv, and ingest again: "
            "a patient is on one side of a split."
        )
    return lines


def _where(look: "Look") -> dict[str, Any]:
    return {"volume_id": look.volume_id, "item": look.item, "patient_id": look.patient_id, "side": look.side}


def _named(look: "Look") -> str:
    return f"{look.volume_id}#{look.item} ({look.side})"
