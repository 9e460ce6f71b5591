"""The way back from pseudonyms to people: one encrypted file, outside the store, or none.

The file is one line of JSON that says how it is encrypted, and one Fernet token (AES-128-CBC with
HMAC-SHA-256). Its key comes from a passphrase by scrypt (RFC 7914). Whoever has the file
and not the passphrase learns only how long it is.
"""

import base64
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from hilum.core.errors import CorruptionError, DataError, NotFoundError, RequestError
from hilum.store.layout import Store, filesystem, is_local

PASSPHRASE = "HILUM_MAPPING_PASSPHRASE"  # noqa: S105 (the name of a variable)
FORMAT, FORMAT_VERSION = "hilum_mapping", 1
MIN_PASSPHRASE = 12
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**15, 8, 1
_MAX_HEADER_BYTES = 1000

Identities = Mapping[str, Mapping[str, str]]
"""Kind ('patient', 'study', 'source') to pseudonym to identity."""


def passphrase() -> str:
    """What HILUM_MAPPING_PASSPHRASE says. It is asked for nowhere else: a command line is read by many."""
    given = os.environ.get(PASSPHRASE, "")
    if len(given) < MIN_PASSPHRASE:
        raise RequestError(
            f"A mapping of pseudonyms is written encrypted or not at all: set {PASSPHRASE} to {MIN_PASSPHRASE} "
            "characters or more."
        )
    return given


def check_place(path: Path, store: Store) -> None:
    """Refuse a mapping inside the store: who copies the store would copy it, too."""
    if is_local(store.url) and path.resolve().is_relative_to(Path(filesystem(store.url)[1]).resolve()):
        raise RequestError("The mapping must not lie in the store; name a file that is not shared with it.")


def extend_mapping(path: Path, found: Identities, *, secret: str) -> int:
    """Add ``found`` to the mapping at ``path`` (made if absent, mode 600). Returns how many names it now has."""
    known = {kind: dict(names) for kind, names in (read_mapping(path, secret=secret) if path.exists() else {}).items()}
    for kind, names in found.items():
        known.setdefault(kind, {}).update(names)
    _write_private(path, _sealed(json.dumps(known, sort_keys=True).encode(), secret))
    return sum(map(len, known.values()))


def read_mapping(path: Path, *, secret: str) -> dict[str, dict[str, str]]:
    """The mapping at ``path``. A wrong passphrase and a changed byte cannot be told apart, and are refused."""
    try:
        payload = path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"There is no mapping at {path}.") from None
    line, _, token = payload.partition(b"\n")
    try:
        fernet = Fernet(_key(_header(line), secret))
        opened: dict[str, dict[str, str]] = json.loads(fernet.decrypt(token.strip()))
    except InvalidToken:
        raise DataError(
            f"The mapping cannot be opened: {PASSPHRASE} is not its passphrase, or a byte has changed."
        ) from None
    return opened


def identity_behind(known: Identities, pseudonym: str) -> list[tuple[str, str]]:
    """(kind, identity) of every entry with this pseudonym."""
    return [(kind, names[pseudonym]) for kind, names in sorted(known.items()) if pseudonym in names]


def _sealed(content: bytes, secret: str) -> bytes:
    header = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "kdf": "scrypt",
        "n": _SCRYPT_N,
        "r": _SCRYPT_R,
        "p": _SCRYPT_P,
        "salt": secrets.token_hex(16),
    }
    return json.dumps(header).encode() + b"\n" + Fernet(_key(header, secret)).encrypt(content) + b"\n"


def _header(line: bytes) -> dict[str, Any]:
    try:
        header = json.loads(line) if len(line) <= _MAX_HEADER_BYTES else None
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise DataError("This file is not a mapping of pseudonyms.")
    if header.get("version") != FORMAT_VERSION:
        raise DataError(f"The mapping has version {header.get('version')}; this hilum reads {FORMAT_VERSION}.")
    # The file says how much work opening it is; a hostile one would ask for all memory.
    if (header.get("n"), header.get("r"), header.get("p")) != (_SCRYPT_N, _SCRYPT_R, _SCRYPT_P):
        raise CorruptionError("The mapping's first line is damaged; restore it from a copy.")
    return header


def _key(header: Mapping[str, Any], secret: str) -> bytes:
    try:
        salt = bytes.fromhex(header["salt"])
    except (KeyError, TypeError, ValueError):
        raise CorruptionError("The mapping's first line is damaged; restore it from a copy.") from None
    derived = Scrypt(salt=salt, length=32, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P).derive(secret.encode())
    return base64.urlsafe_b64encode(derived)


def _write_private(path: Path, payload: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
