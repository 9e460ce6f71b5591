"""Who is held out from a checkpoint: the images it was trained on, and the pool that split their patients."""

from collections.abc import Collection

from hilum.core.errors import NotFoundError, RequestError
from hilum.store import checkpoints
from hilum.store.layout import Store, filesystem
from hilum.store.manifest import MANIFEST, read_manifest


def of_checkpoint(store: Store, checkpoint_id: str, *, pool_id: str | None = None) -> dict[str, str]:
    """The ids of ``ingest`` and ``pool``; RequestError when several pools split these images, or none does."""
    ingest_id: str | None = checkpoints.read_card(store, checkpoint_id).get("inputs", {}).get("ingest")
    if ingest_id is None:
        raise RequestError(f"Checkpoint {checkpoint_id} does not say which images it was trained on.")
    if pool_id is None:
        pool_id = _only(_pools(store, ingest_id), ingest_id)
    elif pool_id not in (known := _pools(store, ingest_id)):
        raise NotFoundError(f"No pool of ingest {ingest_id} is called '{pool_id}'. Known: {_listed(known)}.")
    return {"ingest": ingest_id, "pool": pool_id}


def pool_if_known(store: Store, checkpoint_id: str, *, pool_id: str | None = None) -> str | None:
    """The pool that was named, or the only one; None where the store does not tell."""
    ingest_id = checkpoints.read_card(store, checkpoint_id).get("inputs", {}).get("ingest")
    if pool_id is not None:
        return of_checkpoint(store, checkpoint_id, pool_id=pool_id)["pool"]
    pools = [] if ingest_id is None else _pools(store, ingest_id)
    return pools[0] if len(pools) == 1 else None


def _only(pools: Collection[str], ingest_id: str) -> str:
    if not pools:
        raise RequestError(
            f"No pool of ingest {ingest_id} says which patients are held out. First type: hilum pool RECIPE"
        )
    # Pools that ask about other patches of the same split hold out the same patients, but are windowed otherwise.
    if len(pools) > 1:
        raise RequestError(f"Ingest {ingest_id} has several pools; say which one with --pool ID: {_listed(pools)}.")
    return next(iter(pools))


def _pools(store: Store, ingest_id: str) -> list[str]:
    fs, path = filesystem(store.path("runs", "pool"))
    ids = sorted(found.rsplit("/", 2)[-2] for found in fs.glob(f"{path}/*/{MANIFEST}"))
    manifests = {pool_id: read_manifest(store.run("pool", pool_id)) for pool_id in ids}
    return [name for name, manifest in manifests.items() if manifest.inputs["ingest"] == ingest_id]


def _listed(pools: Collection[str]) -> str:
    return ", ".join(pools) or "none yet"
