"""Keys by which applications ask the inference service: kept as hashes in a file, each with what it may do.

The file is JSON, ``{"keys": [{"name", "sha256", "may", "models", "reads", "per_minute", "until"}]}``. A key is 32
random bytes, so that a plain SHA-256 of it cannot be searched; it is shown once, when it is made.
"""

import hashlib
import hmac
import json
import logging
import secrets
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hilum.adapters.callers import Caller
from hilum.core.errors import RequestError
from hilum.store.manifest import write_bytes

_MARK = "hilum_"
_log = logging.getLogger("hilum.services")


class ApiKey(Caller):
    """A key, known by its SHA-256."""

    name: str = Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")


class _KeyFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    keys: tuple[ApiKey, ...] = ()


class KeyFile:
    """The keys of a file, read again when it changes: a key is taken away without a restart."""

    def __init__(self, path: Path) -> None:
        """RequestError where the file is not there or is none of keys."""
        self._path = path
        self._seen, self._keys = _stamp(path), read_keys(path)

    def holder(self, given: str) -> ApiKey | None:
        """Whose key this is; nobody's while the file cannot be read. All are compared, so that time tells nothing."""
        stamp = _stamp(self._path)
        if stamp != self._seen:
            self._keys, self._seen = self._read_again(), stamp
        digest = _digest(given)
        same = [key for key in self._keys if hmac.compare_digest(key.sha256, digest)]
        return same[0] if same else None

    def _read_again(self) -> tuple[ApiKey, ...]:
        try:
            return read_keys(self._path)
        except RequestError as error:
            _log.error("%s Nobody is let in until it is put right.", error)
            return ()


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """All keys of a file; RequestError, which repeats none of it, when it cannot be read as keys."""
    try:
        return _KeyFile.model_validate_json(path.read_bytes()).keys
    except OSError as error:
        raise RequestError(
            f"The file of API keys cannot be read ({error.strerror}); make it: hilum serve key"
        ) from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RequestError(f"The file of API keys is none, at '{where}': {first['msg']}.") from None


def add_key(path: Path, key: ApiKey) -> None:
    """Add a key to a file, making the file if it is not there; a name that is there already keeps its older key too."""
    known = read_keys(path) if path.exists() else ()
    _write(path, (*known, key))


def remove_keys(path: Path, name: str, *, but: str | None = None) -> int:
    """Take away every key of this name but the one of that hash; how many went."""
    known = read_keys(path)
    kept = tuple(key for key in known if key.name != name or key.sha256 == but)
    if len(kept) < len(known):
        _write(path, kept)
    return len(known) - len(kept)


def new_key() -> tuple[str, str]:
    """A key, to be shown once, and its hash, to be kept."""
    key = _MARK + secrets.token_urlsafe(32)
    return key, _digest(key)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def _write(path: Path, keys: tuple[ApiKey, ...]) -> None:
    content = json.dumps(_KeyFile(keys=keys).model_dump(mode="json"), indent=1)
    write_bytes(str(path.absolute()), content.encode())
    path.chmod(0o600)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
