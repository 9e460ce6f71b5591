"""The secret that turns patients into pseudonyms.

Whoever holds a store without its key cannot go from a pseudonym back to a person, even with
a list of all patients at hand. So the key is never copied with a store that is shared.
"""

import os
import secrets
from pathlib import Path
from uuid import uuid4

from hilum.core.errors import CorruptionError, RequestError
from hilum.store.layout import Store, filesystem, is_local

KEY_BYTES = 32
ENVIRONMENT = "HILUM_IDENTITY_KEY"


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
