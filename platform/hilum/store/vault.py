"""A vault: copies of a store's files from which it is restored. Content is kept once, whatever the number of copies.

objects/<2 digits>/<sha256>      a file's bytes under their own SHA-256
snapshots/<id>/files.parquet     which path held which bytes
snapshots/<id>/ledger.json       campaigns, aliases and tasks, as the ledger had them
snapshots/<id>/manifest.json     written last: without it there is no snapshot

Writing a snapshot again after a kill copies only what is missing, and a file whose size and
stamp (modification time and inode, or ETag) are those of the snapshot before is not even read.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from hilum.core.errors import ConflictError, CorruptionError, NotFoundError
from hilum.store.layout import Store, filesystem, is_local
from hilum.store.manifest import (
    MANIFEST,
    Manifest,
    read_json,
    read_manifest,
    sha256,
    verify,
    write_json,
    write_manifest,
)
from hilum.store.partials import partial_file
from hilum.store.tables import SNAPSHOT_FILES, read_table, write_rows

FILES, LEDGER = "files.parquet", "ledger.json"
_STEP, _STEP_VERSION = "backup", 1
_BLOCK = 16 << 20
_NUM_THREADS = 8
_NUM_ATTEMPTS = 3

Progress = Callable[[int, int], None]
"""Called with the number of files that are done, and of all."""


@dataclass(frozen=True)
class Found:
    """A file as a listing tells of it. ``stamp`` changes when the file does; empty where nothing tells."""

    num_bytes: int
    stamp: str


@dataclass(frozen=True)
class Kept:
    """A file of a snapshot."""

    path: str
    num_bytes: int
    sha256: str
    stamp: str


@dataclass(frozen=True)
class Copied:
    """A snapshot that was written, and how much of it was new to the vault."""

    manifest: Manifest
    num_new: int
    new_bytes: int


def list_files(url: str) -> dict[str, Found]:
    """Every file below ``url`` by its path there."""
    fs, root = filesystem(url)
    fs.invalidate_cache()
    root = root.rstrip("/")
    return {
        path.removeprefix(root).lstrip("/"): Found(int(info["size"]), _stamp(info))
        for path, info in fs.find(root, detail=True).items()
    }


def write_snapshot(
    vault: str, store: Store, files: Mapping[str, Found], ledger: Mapping[str, Any], *, on_file: Progress
) -> Copied:
    """Copy ``files`` of the store that the vault does not have yet, and write a snapshot of them all.

    A file that went away since it was listed (one that was for a while only) is left out.
    """
    _make_private(vault)
    there = {path.rsplit("/", 1)[-1]: found.num_bytes for path, found in list_files(f"{vault}/objects").items()}
    before = _known_before(vault)
    new: dict[str, int] = {}

    def keep(path: str) -> Kept | None:
        return _keep(vault, store, path, files[path], known=before.get(path), there=there, new=new)

    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        kept = _counted(threads.map(keep, sorted(files)), len(files), on_file)
    present = [one for one in kept if one is not None]
    return Copied(_commit(vault, present, ledger), len(new), sum(new.values()))


def snapshots(vault: str) -> list[str]:
    """The ids of a vault's snapshots, the oldest first."""
    fs, root = filesystem(vault)
    fs.invalidate_cache()
    return sorted(path.rsplit("/", 2)[-2] for path in fs.glob(f"{root.rstrip('/')}/snapshots/*/{MANIFEST}"))


def chosen_snapshot(vault: str, snapshot_id: str | None) -> str:
    """``snapshot_id`` if the vault has it, the newest if none is named; NotFoundError otherwise."""
    known = snapshots(vault)
    if not known:
        raise NotFoundError(f"There is no finished backup at {vault}. Make one: hilum backup --to {vault}")
    if snapshot_id is None:
        return known[-1]
    if snapshot_id not in known:
        raise NotFoundError(f"The backup at {vault} has no snapshot '{snapshot_id}'. It has: {', '.join(known)}.")
    return snapshot_id


def snapshot_manifest(vault: str, snapshot_id: str) -> Manifest:
    """A snapshot's manifest, once its two files are known to be what was written."""
    url = _snapshot(vault, snapshot_id)
    manifest = read_manifest(url)
    wrong = verify(url, manifest)
    if wrong:
        raise CorruptionError(f"Snapshot {snapshot_id} is damaged ({wrong[0]}). Restore an older one: --snapshot ID.")
    return manifest


def snapshot_files(vault: str, snapshot_id: str) -> list[Kept]:
    rows = read_table(f"{_snapshot(vault, snapshot_id)}/{FILES}", SNAPSHOT_FILES).to_pylist()
    return [Kept(**row) for row in rows]


def snapshot_ledger(vault: str, snapshot_id: str) -> Any:
    return read_json(f"{_snapshot(vault, snapshot_id)}/{LEDGER}")


def damaged_files(vault: str, files: Iterable[Kept], *, on_file: Progress) -> list[str]:
    """Those files of a snapshot whose bytes in the vault are missing or are not what they were. Reads them all."""
    listed = list(files)
    objects = sorted({one.sha256 for one in listed})

    def is_sound(digest: str) -> bool:
        try:
            return sha256(_object(vault, digest)) == digest
        except FileNotFoundError:
            return False

    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        sound = _counted(threads.map(is_sound, objects), len(objects), on_file)
    broken = {digest for digest, fine in zip(objects, sound, strict=True) if not fine}
    return sorted(one.path for one in listed if one.sha256 in broken)


def restore_files(vault: str, files: Iterable[Kept], store: Store, *, on_file: Progress) -> None:
    """Write a snapshot's files into a store, each compared with its SHA-256; what is there already and right stays."""
    listed = list(files)

    def put_back(one: Kept) -> str | None:
        try:
            _put_back(vault, one, store)
        except (FileNotFoundError, CorruptionError):
            return one.path
        return None

    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        broken = [path for path in _counted(threads.map(put_back, listed), len(listed), on_file) if path]
    if broken:
        raise CorruptionError(
            f"{len(broken)} files of the snapshot are missing or changed in the backup, first {broken[0]}. Nothing was "
            "opened for work; restore an older snapshot (--snapshot ID) into another folder."
        )


def _keep(
    vault: str, store: Store, path: str, found: Found, *, known: Kept | None, there: dict[str, int], new: dict[str, int]
) -> Kept | None:
    same = known is not None and found.stamp and (known.num_bytes, known.stamp) == (found.num_bytes, found.stamp)
    if known is not None and same and there.get(known.sha256) == found.num_bytes:
        return known
    for _ in range(_NUM_ATTEMPTS):
        try:
            digest, num_bytes = _hashed(store.path(path))
            if there.get(digest) != num_bytes:
                _copy(store.path(path), _object(vault, digest), digest)
                there[digest] = num_bytes
                new[digest] = num_bytes
        except FileNotFoundError:
            return None
        except CorruptionError:
            continue  # it was written to while it was copied
        # A file that changed since it was listed has another stamp by now: it must be read again next time.
        return Kept(path, num_bytes, digest, found.stamp if num_bytes == found.num_bytes else "")
    raise ConflictError(f"{path} is written to again and again; back up when that has ended.")


def _put_back(vault: str, one: Kept, store: Store) -> None:
    target = store.path(one.path)
    with suppress(FileNotFoundError):
        if sha256(target) == one.sha256:
            return
    _copy(_object(vault, one.sha256), target, one.sha256)


def _copy(source: str, target: str, digest: str) -> None:
    """Copy one file; CorruptionError, and no target, if its bytes are not those of ``digest``."""
    if is_local(target):
        place = Path(filesystem(target)[1])
        place.parent.mkdir(parents=True, exist_ok=True)
        with partial_file(place) as partial:
            with partial.open("wb") as file:
                _pour(source, file, digest)
            partial.replace(place)
        return
    fs, path = filesystem(target)
    try:
        with fs.open(path, "wb") as file:
            _pour(source, file, digest)
    except BaseException:
        with suppress(FileNotFoundError):
            fs.rm_file(path)  # an object store may keep what was poured so far
        raise


def _pour(source: str, file: Any, digest: str) -> None:
    poured = hashlib.sha256()
    fs, path = filesystem(source)
    with fs.open(path, "rb") as original:
        while block := original.read(_BLOCK):
            poured.update(block)
            file.write(block)
    if poured.hexdigest() != digest:
        raise CorruptionError(f"{source} is not what its SHA-256 says.")


def _hashed(url: str) -> tuple[str, int]:
    fs, path = filesystem(url)
    digest, num_bytes = hashlib.sha256(), 0
    with fs.open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            num_bytes += len(block)
    return digest.hexdigest(), num_bytes


def _commit(vault: str, kept: list[Kept], ledger: Mapping[str, Any]) -> Manifest:
    snapshot_id = f"{datetime.now(UTC):%Y%m%dt%H%M%S.%f}-{uuid4().hex[:6]}"
    url = _snapshot(vault, snapshot_id)
    write_rows(f"{url}/{FILES}", SNAPSHOT_FILES, map(asdict, kept))
    write_json(f"{url}/{LEDGER}", ledger)
    manifest = Manifest(
        step=_STEP,
        step_version=_STEP_VERSION,
        run_id=snapshot_id,
        recipe={},
        inputs={},
        files={name: sha256(f"{url}/{name}") for name in (FILES, LEDGER)},
        results={"num_files": len(kept), "num_bytes": sum(one.num_bytes for one in kept)},
    )
    write_manifest(url, manifest)
    return manifest


def _known_before(vault: str) -> dict[str, Kept]:
    """The files of the newest snapshot that can be read."""
    for snapshot_id in reversed(snapshots(vault)):
        with suppress(CorruptionError):
            snapshot_manifest(vault, snapshot_id)
            return {one.path: one for one in snapshot_files(vault, snapshot_id)}
    return {}


def _counted(done: Iterable[Any], num_in_all: int, on_file: Progress) -> list[Any]:
    results = []
    for number, one in enumerate(done, start=1):
        results.append(one)
        on_file(number, num_in_all)
    return results


def _make_private(vault: str) -> None:
    """A folder that only its owner reads: it holds what the store holds, the key of the pseudonyms included."""
    if is_local(vault):
        folder = Path(filesystem(vault)[1])
        if not folder.exists():
            folder.mkdir(parents=True, mode=0o700)


def _stamp(info: Mapping[str, Any]) -> str:
    if "ETag" in info:
        return str(info["ETag"])
    if "mtime" in info:
        return f"{info['mtime']!r}-{info.get('ino', '')}"
    return ""


def _object(vault: str, digest: str) -> str:
    return f"{vault.rstrip('/')}/objects/{digest[:2]}/{digest}"


def _snapshot(vault: str, snapshot_id: str) -> str:
    return f"{vault.rstrip('/')}/snapshots/{snapshot_id}"
