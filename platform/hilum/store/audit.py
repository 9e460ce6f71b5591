"""The audit log: who did what, a file a record, each holding the SHA-256 of the record before it.

audit/00000001.json, audit/00000002.json, … are written once, each on condition that its name
is free: whoever comes second sees the name taken and writes the next number, so that writers on
many machines get one order without a lock. The log is in the store and not in the ledger, which
can be lost and written again.

Changing, removing, inserting or moving a record breaks the chain. Removing the last ones, or
writing the whole log anew, does not: keep `head` elsewhere and `verify` against it.
"""

import getpass
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hilum.core.errors import ConflictError, CorruptionError, NotFoundError, RequestError
from hilum.store.layout import Store, filesystem
from hilum.store.manifest import read_bytes, write_bytes
from hilum.store.partials import SUFFIX
from hilum.store.sealed import UNSEALED, is_sealed, seal

FORMAT_VERSION = 1
ACTOR_VARIABLE = "HILUM_ACTOR"
_ACTOR = re.compile(r"[\w.@:/+ -]{1,100}")
_NAME = re.compile(r"\d{8}\.json")
_MOST_ATTEMPTS = 1000


class Record(BaseModel):
    """One act. ``what`` names runs, checkpoints and counts; never a patient, a file or a secret."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    format_version: int = FORMAT_VERSION
    number: int
    at: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    actor: str
    action: str
    campaign: str | None = None
    round_number: int | None = None
    what: dict[str, Any] = Field(default_factory=dict)
    previous: str | None
    hilum_version: str = Field(default_factory=lambda: version("hilum"))


@dataclass(frozen=True)
class Act:
    """What is to be recorded, before it has a number."""

    action: str
    campaign: str | None = None
    round_number: int | None = None
    what: Mapping[str, Any] = field(default_factory=dict)

    def is_told_by(self, record: Record) -> bool:
        ours = (self.action, self.campaign, self.round_number, dict(self.what))
        return ours == (record.action, record.campaign, record.round_number, record.what)


@dataclass(frozen=True)
class Verdict:
    """How many records there are, the SHA-256 of the newest, and what is wrong with the first that is."""

    num_records: int
    head: str | None
    wrong: str | None = None


def current_actor() -> str:
    """Who acts: HILUM_ACTOR (a person, a service account), else the user this process runs as."""
    given = os.environ.get(ACTOR_VARIABLE, "").strip()
    if not given:
        return _user()
    if not _ACTOR.fullmatch(given):
        raise RequestError(
            f"{ACTOR_VARIABLE} must be 1 to 100 letters, digits and . _ - @ : / +; it names who acts in the audit log."
        )
    return given


def append(store: Store, act: Act, *, actor: str | None = None) -> Record:
    """Write the next record; of concurrent writers each gets a number of its own."""
    who = actor or current_actor()
    for _ in range(_MOST_ATTEMPTS):
        names = record_names(store)
        last = names[-1] if names else None
        record = Record(
            number=_number(last) + 1 if last else 1,
            actor=who,
            action=act.action,
            campaign=act.campaign,
            round_number=act.round_number,
            what=dict(act.what),
            previous=_digest(store, last) if last else None,
        )
        document = {**record.model_dump(mode="json"), "sha256": UNSEALED}
        if write_bytes(store.audit(_name(record.number)), seal(document), only_if_absent=True):
            return record
    raise ConflictError("The audit log grew faster than this record could be added. Try again.")


def append_once(store: Store, act: Act) -> Record | None:
    """Write the record unless one says the same already, as after a kill between an act and its record."""
    if any(act.is_told_by(record) for record in records(store)):
        return None
    return append(store, act)


def records(store: Store) -> Iterator[Record]:
    """Every record that can be read, in order; `verify` says which cannot."""
    for name in record_names(store):
        try:
            yield _read(store, name)[0]
        except (CorruptionError, NotFoundError):
            continue


def head(store: Store) -> str | None:
    """The SHA-256 of the newest record's file: keep it elsewhere, and nobody can shorten the log unseen."""
    names = record_names(store)
    return _digest(store, names[-1]) if names else None


def verify(store: Store, *, expected_head: str | None = None) -> Verdict:
    """Read the whole log and name the first record that is not as it was written.

    ``expected_head`` is a `head` that was kept: a log that no longer holds it was shortened or
    written anew.
    """
    names = record_names(store)
    previous: str | None = None
    digests: list[str] = []
    for number, name in enumerate(names, start=1):
        wrong = _fault(store, number, name, previous)
        if wrong:
            return Verdict(len(names), head(store), wrong)
        previous = _digest(store, name)
        digests.append(previous)
    wrong = _stranger(store)
    if wrong is None and expected_head is not None and expected_head not in digests:
        wrong = f"no record has the SHA-256 {expected_head}: the log was shortened or written anew after it was noted"
    return Verdict(len(names), previous, wrong)


def record_names(store: Store) -> list[str]:
    """The files of the log, in order."""
    return sorted(name for name in _files(store) if _NAME.fullmatch(name))


def _fault(store: Store, number: int, name: str, previous: str | None) -> str | None:
    """What is wrong with the file that should hold record ``number``, after one of SHA-256 ``previous``."""
    if name != _name(number):
        return f"record {number} is missing"
    try:
        record, payload = _read(store, name)
    except CorruptionError:
        return f"record {number} cannot be read: it was changed since it was written"
    if not is_sealed(payload, json.loads(payload).get("sha256")):
        return f"record {number} was changed since it was written"
    if record.number != number:
        return f"record {number} is missing: record {record.number} stands in its place"
    if record.previous != previous:
        return f"record {number} does not continue record {number - 1}: one of the two was changed or put there later"
    return None


def _stranger(store: Store) -> str | None:
    strangers = sorted(name for name in _files(store) if not _NAME.fullmatch(name) and not name.endswith(SUFFIX))
    return f"{strangers[0]} is no record: somebody put it there" if strangers else None


def _read(store: Store, name: str) -> tuple[Record, bytes]:
    payload = read_bytes(store.audit(name))
    try:
        record = Record.model_validate_json(payload)
    except ValidationError:
        raise CorruptionError(
            f"Record {name} of the audit log cannot be read; `hilum audit verify` says more."
        ) from None
    if record.format_version > FORMAT_VERSION:
        raise RequestError(
            f"The audit log has format {record.format_version}; this hilum reads up to {FORMAT_VERSION}. "
            f"Use hilum {record.hilum_version} or newer."
        )
    return record, payload


def _digest(store: Store, name: str) -> str:
    return hashlib.sha256(read_bytes(store.audit(name))).hexdigest()


def _files(store: Store) -> list[str]:
    fs, folder = filesystem(store.path("audit"))
    fs.invalidate_cache()
    return [path.rsplit("/", 1)[-1] for path in fs.ls(folder, detail=False)] if fs.exists(folder) else []


def _name(number: int) -> str:
    return f"{number:08d}.json"


def _number(name: str) -> int:
    return int(name.removesuffix(".json"))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have a number and no name
        return f"uid {os.getuid()}"
