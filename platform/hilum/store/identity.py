"""The secret that turns patients into pseudonyms.

Whoever holds a store without its key cannot go from a pseudonym back to a person, even with
a list of all patients at hand. So the key is never copied with a store that is shared.
"""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from hilum.core.errors import CorruptionError, NotFoundError, RequestError
from hilum.core.ids import pseudonym
from hilum.store.layout import Store, exists, filesystem, is_local
from hilum.store.manifest import read_bytes, write_bytes
from hilum.store.sealed import UNSEALED, is_sealed, seal

KEY_BYTES = 32
ENVIRONMENT = "HILUM_IDENTITY_KEY"
RECORD_VERSION = 1
_HEADER = "hilum identity key 2"
MAX_SHIFT_DAYS = 3650


def identity_key(store: Store) -> bytes:
    """The store's key: HILUM_IDENTITY_KEY, else ``identity.key`` of a local store, made on first use (mode 600).

    A bucket is read by many, so a store on one has no key file and needs the variable. A key
    that is damaged, or not the one that this store's pseudonyms were made with, is refused.
    """
    known = find_key(store)
    if known is not None:
        return known
    if not is_local(store.url):
        raise RequestError(
            f"A store at {store.url} needs the secret of its pseudonyms in {ENVIRONMENT}: {2 * KEY_BYTES} hexadecimal "
            "digits (make them once with 'openssl rand -hex 32' and keep them)."
        )
    if exists(store.identity_record):
        raise NotFoundError(
            f"{store.identity_file} is not there, and this store's pseudonyms were made with it. Restore it from a "
            f"copy or set {ENVIRONMENT}; if it is lost, delete {store.identity_record}, and from then on every "
            "patient gets a new pseudonym."
        )
    path = _key_path(store)
    _make(path)
    return _opened(path)


def settled_key(store: Store) -> bytes:
    """The store's key, and from now on no other: its fingerprint is recorded in the store."""
    key = identity_key(store)
    record = {"format_version": RECORD_VERSION, "key_fingerprint": fingerprint(key), "sha256": UNSEALED}
    if not exists(store.identity_record):
        write_bytes(store.identity_record, seal(record), only_if_absent=True)
    return identity_key(store)  # another process may have recorded another key first


def find_key(store: Store) -> bytes | None:
    """The store's key if there is one here, checked; None where nobody left one. Makes nothing."""
    given = os.environ.get(ENVIRONMENT)
    if given is not None:
        key = _from_hex(given)
        if key is None:
            raise RequestError(f"{ENVIRONMENT} must be {2 * KEY_BYTES} hexadecimal digits.")
        if not _is_recorded(store, key):
            raise RequestError(
                f"{ENVIRONMENT} is not the key that this store's pseudonyms were made with: the same patients would "
                "get other ones. Set the store's own, or make another store."
            )
        return key
    if not is_local(store.url) or not _key_path(store).exists():
        return None
    key = _opened(_key_path(store))
    if not _is_recorded(store, key):
        raise CorruptionError(
            f"{store.identity_file} is sound but another store's: this store's pseudonyms were made with another key. "
            "Restore this store's own, or the same patients will get other pseudonyms."
        )
    return key


def fingerprint(key: bytes) -> str:
    """What two keys can be compared by. It reveals nothing of either (HMAC-SHA-256 of a constant)."""
    return pseudonym(key, "key", "fingerprint")


def _is_recorded(store: Store, key: bytes) -> bool:
    """True when the store has recorded this key, or none yet."""
    try:
        payload = read_bytes(store.identity_record)
    except NotFoundError:
        return True
    damaged = CorruptionError(f"{store.identity_record} changed since it was written: restore it, or delete it.")
    try:
        record = json.loads(payload)
    except ValueError:
        raise damaged from None
    if not isinstance(record, dict) or not is_sealed(payload, record.get("sha256")):
        raise damaged
    return bool(record["key_fingerprint"] == fingerprint(key))


def _key_path(store: Store) -> Path:
    return Path(filesystem(store.identity_file)[1])


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(_written(secrets.token_bytes(KEY_BYTES)))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(partial, path)
        except FileExistsError:
            return  # another process made it first; its key stands
    finally:
        partial.unlink()


def _written(key: bytes) -> str:
    """A key file's text: what it is, the key, and a checksum that tells a changed digit."""
    return f"{_HEADER}\n{key.hex()}\n{_checksum(key)}\n"


def _checksum(key: bytes) -> str:
    return hashlib.sha256(f"{_HEADER}\n{key.hex()}".encode()).hexdigest()[:16]


def _opened(path: Path) -> bytes:
    text = path.read_text(encoding="ascii", errors="replace")
    lines = text.split()
    key = _from_hex(lines[-2] if len(lines) > 1 else text)  # the first format was the key alone
    if key is None or (len(lines) > 1 and text.strip() != _written(key).strip()):
        raise CorruptionError(
            f"{path} is damaged: restore it from a copy. With another key the same patients get other pseudonyms."
        )
    return key


def _from_hex(text: str) -> bytes | None:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        return None
    return key if len(key) == KEY_BYTES else None


def pseudonymous_tags(key: bytes, patient: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Kept tags as they may be written: dates shifted, UIDs renamed, everything else as it is.

    All of one patient's dates move by the same number of days into the past, so that intervals stay;
    an UID gets the same new name wherever it occurs (DICOM PS3.15 Annex E, actions C and U).
    """
    shifted = shift_of(key, patient)
    return {name: _pseudonymous(key, name, value, shifted) for name, value in tags.items()}


def shift_of(key: bytes, patient: str) -> timedelta:
    """By how much this patient's dates move: −1 to −3650 days, known only to who has the key."""
    return timedelta(days=-1 - _keyed_number(key, f"shift:{patient}") % MAX_SHIFT_DAYS)


def _pseudonymous(key: bytes, name: str, value: str, shift: timedelta) -> str:
    if name.endswith("Date"):
        try:
            return (datetime.strptime(value, "%Y%m%d").replace(tzinfo=UTC) + shift).strftime("%Y%m%d")
        except (ValueError, OverflowError):
            return ""
    if name.endswith("UID"):
        # 2.25. and a 128-bit number is an UID that nobody has to hand out (PS3.5 Annex B.2).
        return f"2.25.{_keyed_number(key, f'uid:{value}')}"
    return value


def _keyed_number(key: bytes, text: str) -> int:
    return int.from_bytes(hmac.new(key, text.encode(errors="surrogatepass"), hashlib.sha256).digest()[:16], "big")
