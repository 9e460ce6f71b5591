"""Putting back what a store lost, or what was damaged in it: folders of published things, from a copy of that store."""

from collections.abc import Sequence

from hilum.core.errors import NotFoundError, RequestError
from hilum.loop.backup import SETTLES
from hilum.store import vault as vaults
from hilum.store.audit import Act, append
from hilum.store.layout import Store
from hilum.store.vault import Kept, Progress

_NUM_NAMES = {"volumes": 2, "labels": 2, "checkpoints": 2, "runs": 3}
"""How many names lead to one thing that never changes once it is there: any copy of it is the right one."""


def put_back(
    vault: str, snapshot_id: str | None, store: Store, folders: Sequence[str], *, on_file: Progress
) -> tuple[str, int]:
    """Write folders of a snapshot into the store they are of; the snapshot's id, and how many files these folders have.

    What is whole there stays. RequestError for a folder that is no published thing, NotFoundError for one that the
    snapshot has not.
    """
    names = [_checked(folder) for folder in folders]
    chosen = vaults.chosen_snapshot(vault, snapshot_id)
    vaults.snapshot_manifest(vault, chosen)
    kept = vaults.snapshot_files(vault, chosen)
    files = [one for name in names for one in _files_of(name, kept, chosen)]
    for settles in (False, True):  # data first: a manifest says that all of it is there
        now = [one for one in files if (one.path.rsplit("/", 1)[-1] in SETTLES) == settles]
        vaults.restore_files(vault, now, store, on_file=on_file)
    append(store, Act("put back", what={"snapshot": chosen, "folders": names}))
    return chosen, len(files)


def _checked(folder: str) -> str:
    names = folder.strip("/").split("/")
    if _NUM_NAMES.get(names[0]) != len(names) or not all(name.strip(".") for name in names):
        raise RequestError(
            f"'{folder}' is not one published thing: give volumes/ID.zarr, runs/STEP/ID, labels/ID or checkpoints/ID, "
            "as `hilum doctor` names it. Whatever else was lost comes back with a whole store."
        )
    return "/".join(names)


def _files_of(name: str, kept: Sequence[Kept], snapshot_id: str) -> list[Kept]:
    found = [one for one in kept if one.path.startswith(f"{name}/")]
    if not found:
        raise NotFoundError(f"Snapshot {snapshot_id} has no {name}. Try another one: --snapshot ID.")
    return found
