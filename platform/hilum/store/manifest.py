"""Data first, manifest last: a run without a manifest does not exist.

Anything written through here is complete or absent: a sibling ``.partial`` and a rename on
a local disk, one PUT on an object store. A manifest holds the SHA-256 of every file it names
and of itself.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hilum.core.errors import CorruptionError, NotFoundError
from hilum.core.ids import run_id as name_run
from hilum.store.layout import Store, filesystem
from hilum.store.partials import partial_file
from hilum.store.sealed import UNSEALED, is_sealed, seal

MANIFEST = "manifest.json"
FORMAT_VERSION = 2
_UNSEALED_FORMAT = 1


class Manifest(BaseModel):
    """What a run was made of and what it made. ``files`` maps each file to its SHA-256."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    format_version: int = FORMAT_VERSION
    step: str
    step_version: int
    run_id: str
    recipe: dict[str, Any]
    inputs: dict[str, str]
    files: dict[str, str] = Field(default_factory=dict)
    results: dict[str, Any] = Field(default_factory=dict)
    hilum_version: str = Field(default_factory=lambda: version("hilum"))


class Run:
    """One step's folder while it is being filled. Committing writes the manifest, and so makes it exist."""

    def __init__(self, store: Store, step: str, step_version: int, recipe: BaseModel, inputs: Mapping[str, str]):
        self.step = step
        self.run_id = name_run(step, step_version, recipe, inputs)
        self.url = store.run(step, self.run_id)
        self._draft = {
            "step": step,
            "step_version": step_version,
            "run_id": self.run_id,
            "recipe": recipe.model_dump(mode="json", by_alias=True),
            "inputs": dict(inputs),
        }

    def finished(self) -> Manifest | None:
        """The manifest if this run was committed before, else None."""
        return find_manifest(self.url)

    def path(self, name: str) -> str:
        return f"{self.url}/{name}"

    def commit(self, files: list[str] | None = None, **results: Any) -> Manifest:
        """Publish. Everything in ``files`` must be written already; of two racing commits the first stands."""
        before = self.finished()
        if before is not None:
            return before
        digests = {name: sha256(self.path(name)) for name in sorted(files or [])}
        manifest = Manifest(**self._draft, files=digests, results=results)
        write_manifest(self.url, manifest)
        return read_manifest(self.url)


def write_manifest(url: str, manifest: Manifest) -> bool:
    """Publish folder ``url``, sealed. False when a manifest was there already; it stands."""
    document = {**manifest.model_dump(mode="json"), "sha256": UNSEALED}
    return write_bytes(f"{url}/{MANIFEST}", seal(document), only_if_absent=True)


def read_manifest(url: str) -> Manifest:
    """The manifest in folder ``url``; NotFoundError if there is none, CorruptionError if it cannot be read."""
    manifest = find_manifest(url)
    if manifest is None:
        raise NotFoundError(f"There is no finished run at {url}: it has no {MANIFEST}.")
    return manifest


def find_manifest(url: str) -> Manifest | None:
    try:
        payload = read_bytes(f"{url}/{MANIFEST}")
    except NotFoundError:
        return None
    document = _parsed(f"{url}/{MANIFEST}", payload)
    try:
        manifest = Manifest.model_validate(document)
    except ValidationError as error:
        raise CorruptionError(f"{url}/{MANIFEST} is not a manifest: {error.errors()[0]['msg']}.") from None
    if manifest.format_version > FORMAT_VERSION:
        raise CorruptionError(
            f"{url}/{MANIFEST} has format {manifest.format_version}; this hilum reads up to {FORMAT_VERSION}. "
            f"Use hilum {manifest.hilum_version} or newer."
        )
    if document.get("format_version") != _UNSEALED_FORMAT and not is_sealed(payload, document.get("sha256")):
        raise CorruptionError(f"{url}/{MANIFEST} changed since it was written: restore it, or run its step again.")
    return manifest


def verify(url: str, manifest: Manifest) -> list[str]:
    """The files of a run that are missing or whose SHA-256 differs, each with its reason."""
    wrong = []
    for name, digest in manifest.files.items():
        try:
            if sha256(f"{url}/{name}") != digest:
                wrong.append(f"{name}: changed since it was written")
        except FileNotFoundError:
            wrong.append(f"{name}: missing")
    return wrong


def write_bytes(url: str, payload: bytes, *, only_if_absent: bool = False) -> bool:
    """Write all of ``payload`` or nothing. Returns False when ``only_if_absent`` and something was there."""
    fs, path = filesystem(url)
    if isinstance(fs, LocalFileSystem):
        return _write_locally(Path(path), payload, only_if_absent=only_if_absent)
    if not only_if_absent:
        fs.pipe_file(path, payload)  # one PUT appears whole or not at all
        return True
    if fs.exists(path):
        return False
    try:
        fs.pipe_file(path, payload, mode="create")  # one PUT on condition: the first writer stands
    except FileExistsError:
        return False
    return True


def write_json(url: str, content: Any, *, only_if_absent: bool = False) -> bool:
    payload = json.dumps(content, indent=2, sort_keys=True).encode() + b"\n"
    return write_bytes(url, payload, only_if_absent=only_if_absent)


def read_bytes(url: str) -> bytes:
    fs, path = filesystem(url)
    try:
        return bytes(fs.cat_file(path))
    except FileNotFoundError:
        raise NotFoundError(f"There is no file at {url}.") from None


def read_json(url: str) -> Any:
    return _parsed(url, read_bytes(url))


def _parsed(url: str, payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except ValueError:
        raise CorruptionError(f"{url} is not JSON: {len(payload)} bytes that do not parse.") from None


def sha256(url: str) -> str:
    fs, path = filesystem(url)
    digest = hashlib.sha256()
    with fs.open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _write_locally(path: Path, payload: bytes, *, only_if_absent: bool) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not fs.transaction: it stages in the system temp dir, and a move between disks is a copy.
    with partial_file(path) as partial:
        with partial.open("wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        if not only_if_absent:
            partial.replace(path)
            return True
        try:
            os.link(partial, path)  # fails if the name is taken: the first writer stands
        except FileExistsError:
            return False
        return True
