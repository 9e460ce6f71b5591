"""Backing up a store with its ledger while campaigns run, and restoring both.

The ledger is read first and decides: of each campaign those events belong to the copy that
the ledger had reached. All that they name was written before (data, manifest, event, ledger, in
this order), so all of it is in a listing made afterwards. What was under way is there in
part, as after a kill, and is gone on with.
"""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hilum.core.errors import ConflictError, RequestError
from hilum.core.ports import CampaignPlace, Ledger
from hilum.loop.definition import known_campaigns
from hilum.loop.events import read_event
from hilum.loop.stages import Stage
from hilum.store import vault as vaults
from hilum.store.audit import Act, append
from hilum.store.inspection import finished_runs
from hilum.store.layout import Store, exists, filesystem, is_local
from hilum.store.ledger import open_ledger
from hilum.store.manifest import MANIFEST, read_json, write_json
from hilum.store.partials import SUFFIX
from hilum.store.vault import Copied, Found, Progress

SETTINGS = "hilum.json"
UNDER_WAY = "restoring.json"
"""In a store that is being restored: which snapshot of it."""
_EVENT = re.compile(r"campaigns/([^/]+)/rounds/(\d+)/events/(\d+)-[a-z]+\.json")
_RECORD = re.compile(r"audit/(\d{8})\.json")
SETTLES = (MANIFEST, "zarr.json")
"""Files that make what lies beside them exist."""
_LEFT_OUT = ("ledger.sqlite", "jobs/", UNDER_WAY)
_PAUSE_SECONDS = 0.5
_NUM_LOOKS = 6

Snapshot = Mapping[str, Any]


def back_up(store: Store, ledger: Ledger, vault: str, *, on_file: Progress) -> Copied:
    """Write a snapshot of the store and its ledger into ``vault``. Safe while campaigns run; resumable."""
    _check_apart(store, vault)
    places = _places_of(store, ledger)
    content = {
        "campaigns": [asdict(place) for place in places],
        "aliases": [[*names, checkpoint] for names, checkpoint in ledger.aliases().items()],
        "tasks": {one: dict(ledger.external_ids(one)) for one in sorted(finished_runs(store, "select"))},
    }
    # Twice: what makes a folder's data exist must not come from a later moment than the data.
    before, now = vaults.list_files(store.url), vaults.list_files(store.url)
    files = belonging(before, now, places)
    copied = vaults.write_snapshot(vault, store, files, content, on_file=on_file)
    append(store, Act("backed up", what={"snapshot": copied.manifest.run_id}))
    return copied


def belonging(
    before: Mapping[str, Found], now: Mapping[str, Found], places: Sequence[CampaignPlace]
) -> dict[str, Found]:
    """The files of a snapshot, from two listings that were made after the ledger was read."""
    reached = {place.name: (place.round_number, Stage(place.stage).number) for place in places}
    last_record = _last_in_row(now)
    return {path: now[path] for path in now if _belongs(path, before, reached, last_record)}


def restore(
    vault: str, snapshot_id: str | None, store: Store, ledger_url: str | None, *, on_file: Progress
) -> tuple[str, int]:
    """Write a snapshot into an empty place and fill its ledger; returns the snapshot's id and its number of files.

    The store is one only when all is there: killed before that, the same command goes on.
    """
    chosen = vaults.chosen_snapshot(vault, snapshot_id)
    vaults.snapshot_manifest(vault, chosen)
    files = vaults.snapshot_files(vault, chosen)
    _claim_place(store, chosen)
    ledger, content = open_ledger(store, ledger_url), vaults.snapshot_ledger(vault, chosen)
    _check_empty(ledger, content)
    last = [one for one in files if one.path == SETTINGS]
    vaults.restore_files(vault, (one for one in files if one.path != SETTINGS), store, on_file=on_file)
    _keep_secret(store)
    _fill(ledger, content)
    ledger.close()
    vaults.restore_files(vault, last, store, on_file=lambda *_: None)
    append(store, Act("restored", what={"snapshot": chosen}))
    fs, marker = filesystem(store.path(UNDER_WAY))
    fs.rm_file(marker)
    return chosen, len(files)


def _belongs(path: str, before: Mapping[str, Found], reached: Mapping[str, tuple[int, int]], last_record: int) -> bool:
    if path.endswith(SUFFIX) or path.startswith(_LEFT_OUT):
        return False
    if path.startswith("campaigns/") and path.split("/")[1] not in reached:
        return False  # it is being created
    if event := _EVENT.fullmatch(path):
        name, round_number, stage_number = event.groups()
        return (int(round_number), int(stage_number)) <= reached[name]
    if record := _RECORD.fullmatch(path):
        return int(record[1]) <= last_record
    return path.rsplit("/", 1)[-1] not in SETTLES or path in before


def _last_in_row(files: Iterable[str]) -> int:
    """The number of the last audit record before the first that is missing: a listing may be older at its end."""
    numbers = sorted(int(found[1]) for path in files if (found := _RECORD.fullmatch(path)))
    return next((place for place, number in enumerate(numbers) if number != place + 1), len(numbers))


def _places_of(store: Store, ledger: Ledger) -> Sequence[CampaignPlace]:
    """Where every campaign of the store is; RequestError where store and ledger are not of each other."""
    for _ in range(_NUM_LOOKS):
        begun = {name for name in known_campaigns(store) if read_event(store, name, 0, Stage.OPENED)}
        places = ledger.places()
        untold = sorted(begun - {place.name for place in places})
        if not untold:
            break
        time.sleep(_PAUSE_SECONDS)  # one that is being created this moment is told in a moment
    else:
        raise RequestError(
            f"The ledger does not know campaign '{untold[0]}' of this store. Set HILUM_LEDGER_URL to the store's own, "
            "or write the ledger again with `hilum doctor --rebuild`, and back up then."
        )
    foreign = sorted({place.name for place in places} - set(known_campaigns(store)))
    if foreign:
        raise RequestError(
            f"The ledger knows campaign '{foreign[0]}', which this store does not have: HILUM_LEDGER_URL is another "
            "store's."
        )
    return places


def _check_empty(ledger: Ledger, content: Snapshot) -> None:
    if list(ledger.places()) not in ([], _places_in(content)):  # the second: a restoring that was killed later
        raise ConflictError(
            "The ledger to restore into is not empty: it knows "
            f"{', '.join(place.name for place in ledger.places())}. Set HILUM_LEDGER_URL to an empty database."
        )


def _fill(ledger: Ledger, content: Snapshot) -> None:
    ledger.restore(_places_in(content), {(model, alias): checkpoint for model, alias, checkpoint in content["aliases"]})
    for selection_id, external_ids in content["tasks"].items():
        ledger.remember_tasks(selection_id, external_ids)


def _places_in(content: Snapshot) -> list[CampaignPlace]:
    return [CampaignPlace(**place) for place in content["campaigns"]]


def _claim_place(store: Store, snapshot_id: str) -> None:
    marker = store.path(UNDER_WAY)
    if exists(marker):
        if read_json(marker).get("snapshot") == snapshot_id:
            return
        raise ConflictError(f"Another snapshot is being restored into {store.url}. Name another place, or that one.")
    if vaults.list_files(store.url):
        raise ConflictError(f"{store.url} is not empty. A store is restored into an empty place: name another.")
    write_json(marker, {"snapshot": snapshot_id})


def _keep_secret(store: Store) -> None:
    if is_local(store.url) and exists(store.identity_file):
        Path(filesystem(store.identity_file)[1]).chmod(0o600)


def _check_apart(store: Store, vault: str) -> None:
    ours, theirs = (url.rstrip("/") + "/" for url in (filesystem(store.url)[1], filesystem(vault)[1]))
    if is_local(store.url) == is_local(vault) and (theirs.startswith(ours) or ours.startswith(theirs)):
        raise RequestError(f"A backup in the store itself, or around it, is none: {vault}. Name another place.")
