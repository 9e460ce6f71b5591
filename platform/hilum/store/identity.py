"""The secret that turns patients into pseudonyms.

Whoever holds a store without its key cannot go from a pseudonym back to a person, even with
a list of all patients at hand. So the key is never copied with a store that is shared.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from hilum.core.errors import CorruptionError, RequestError
from hilum.store.layout import Store, filesystem, is_local

KEY_BYTES = 32
ENVIRONMENT = "HILUM_IDENTITY_KEY"
MAX_SHIFT_DAYS = 3650


def identity_key(store: Store) -> bytes:
    """The store's key: HILUM_IDENTITY_KEY, else ``identity.key`` of a local store, made on first use (mode 600).

    A bucket is read by many, so a store on one has no key file and needs the variable.
    """
    given = os.environ.get(ENVIRONMENT)
    if given is not None:
        return _parsed(given, RequestError(f"{ENVIRONMENT} must be {2 * KEY_BYTES} hexadecimal digits."))
    if not is_local(store.url):
        raise RequestError(
            f"A store at {store.url} needs the secret of its pseudonyms in {ENVIRONMENT}: {2 * KEY_BYTES} hexadecimal "
            "digits (make them once with 'openssl rand -hex 32' and keep them)."
        )
    path = Path(filesystem(store.identity_file)[1])
    if not path.exists():
        _make(path)
    damaged = CorruptionError(f"{store.identity_file} is damaged; restore it, or patients will get new pseudonyms.")
    return _parsed(path.read_text(encoding="ascii", errors="replace"), damaged)


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(partial, path)
        except FileExistsError:
            return  # another process made it first; its key stands
    finally:
        partial.unlink()


def _parsed(text: str, otherwise: Exception) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        raise otherwise from None
    if len(key) != KEY_BYTES:
        raise otherwise
    return key


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
