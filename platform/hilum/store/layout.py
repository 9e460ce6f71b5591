"""Every path of a store, in this one file.

volumes/<volume_id>.zarr          images and their label maps (OME-Zarr 0.5)
runs/<step>/<run_id>/             what a step computed; manifest.json last
labels/<label_set_id>/            snapshots of accepted answers
checkpoints/<checkpoint_id>/      model.safetensors, card.json, manifest.json
campaigns/<name>/                 recipe.json, rounds/<n>/events/<k>-<stage>.json
audit/<number>.json               who did what, each record with the SHA-256 of the one before
deliveries/<tool>/<project>/      what a labelling tool told us, a file a revision, written once
unsure/                           images that inference kept, with their senders' consent
jobs/<job_id>/                    images that inference answers later, for a while
ledger.sqlite                     who may move a round next (or HILUM_LEDGER_URL)
hilum.json                        the store's format version
identity.key                      secret of the pseudonyms, never shared (or HILUM_IDENTITY_KEY)
identity.json                     which key that is, without saying it
"""

from dataclasses import dataclass
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from hilum.core.errors import NotFoundError, RequestError

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Store:
    """A folder or a bucket prefix that hilum owns. Cheap to copy and to send: it holds only its URL."""

    url: str

    def path(self, *parts: str) -> str:
        return "/".join([self.url.rstrip("/"), *parts])

    def volume(self, volume_id: str) -> str:
        return self.path("volumes", f"{volume_id}.zarr")

    def run(self, step: str, run_id: str) -> str:
        return self.path("runs", step, run_id)

    def label_set(self, label_set_id: str) -> str:
        return self.path("labels", label_set_id)

    def checkpoint(self, checkpoint_id: str) -> str:
        return self.path("checkpoints", checkpoint_id)

    def campaign(self, name: str) -> str:
        return self.path("campaigns", name)

    def round_events(self, name: str, number: int) -> str:
        return self.path("campaigns", name, "rounds", f"{number:03d}", "events")

    def audit(self, name: str) -> str:
        return self.path("audit", name)

    def deliveries(self, tool: str, project_id: int) -> str:
        return self.path("deliveries", tool, str(project_id))

    def job(self, job_id: str) -> str:
        return self.path("jobs", job_id)

    @property
    def ledger_file(self) -> str:
        return self.path("ledger.sqlite")

    @property
    def identity_file(self) -> str:
        return self.path("identity.key")

    @property
    def identity_record(self) -> str:
        return self.path("identity.json")

    @property
    def settings_file(self) -> str:
        return self.path("hilum.json")


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec filesystem of a URL and the path on it. A missing driver or bad URL is the caller's to fix."""
    try:
        return fsspec.core.url_to_fs(url)  # type: ignore[no-any-return]
    except (ValueError, ImportError) as error:
        raise RequestError(f"Cannot open '{url}': {error}. Give a folder or an fsspec URL such as s3://…") from None


def is_local(url: str) -> bool:
    return isinstance(filesystem(url)[0], LocalFileSystem)


def exists(url: str) -> bool:
    fs, path = filesystem(url)
    return bool(fs.exists(path))


def require(url: str, what: str) -> str:
    """``url`` if something is there, else a NotFoundError that says what was looked for."""
    if not exists(url):
        raise NotFoundError(f"There is no {what} at {url}.")
    return url


def names_in(url: str) -> set[str]:
    """The files of a folder, listed once: asking a bucket for each of ten thousand parts would take minutes."""
    fs, folder = filesystem(url)
    fs.invalidate_cache()
    return {path.rsplit("/", 1)[-1] for path in fs.ls(folder, detail=False)} if fs.exists(folder) else set()


def remove(url: str) -> None:
    """Remove a folder, if it is there."""
    fs, path = filesystem(url)
    if fs.exists(path):
        fs.rm(path, recursive=True)
