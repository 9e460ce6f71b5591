"""The keys by which an issuer of tokens signs, fetched from where it publishes them, seldom and within bounds."""

import json
import logging
import time
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from jwt import PyJWK, PyJWTError

from hilum.adapters.addresses import is_loopback
from hilum.core.errors import HilumError, RequestError

_log = logging.getLogger("hilum.services")
_ALGORITHMS = {"RSA": "RS256", "EC": "ES256"}
"""What a key of a kind verifies: that alone, whatever a token says of itself (RFC 8725, 3.1)."""
_FRESH_SECONDS, _KEPT_SECONDS = 300.0, 3600.0
"""After these keys are fetched again; and until these they are used while that fails."""
_BETWEEN_SECONDS = 10.0
"""Two fetches are at least so far apart, however many tokens name keys that nobody knows."""
_SLOWEST_SECONDS = 5.0
_LARGEST_BYTES = 256 << 10
_MOST_KEYS = 50


class UnreachableIssuerError(HilumError):
    """Whether a token is good cannot be said now, for its issuer's keys are not to be had."""


@dataclass(frozen=True)
class _Fetched:
    keys: dict[str | None, PyJWK] = field(default_factory=dict)
    at: float = -_KEPT_SECONDS


class PublishedKeys:
    """An issuer's keys by their id. `fetch` blocks and is called by one thread at a time, the rest by any."""

    def __init__(self, issuer: str, jwks_url: str | None = None) -> None:
        """``jwks_url``: where the keys are; where the issuer's discovery document says if None. RequestError for an
        address that is neither https nor this machine's own.
        """
        for url in (issuer, jwks_url):
            if url is not None and not _is_safe(url):
                raise RequestError(f"An issuer of tokens is asked at https://…, or on this machine; given {url!r}.")
        self._issuer, self._jwks_url = issuer, jwks_url
        self._opener = build_opener(_NoRedirects)
        self._found = _Fetched()
        self._tried_at = -_KEPT_SECONDS
        self._tried_in_vain = False

    def key(self, key_id: str | None) -> PyJWK | None:
        """The key of that id, or the only one where a token names none; UnreachableIssuerError while nobody can tell.

        None: there is no such key, as far as was seen not long ago.
        """
        found = self._found if time.monotonic() - self._found.at < _KEPT_SECONDS else _Fetched()
        key = next(iter(found.keys.values())) if key_id is None and len(found.keys) == 1 else found.keys.get(key_id)
        if key is None and self._tried_in_vain:
            raise UnreachableIssuerError("The issuer of tokens cannot be reached.")
        return key

    def lacks(self, key_id: str | None) -> bool:
        """Whether that key is not at hand."""
        try:
            return self.key(key_id) is None
        except UnreachableIssuerError:
            return True

    def may_fetch(self) -> bool:
        """Whether the last fetch is long enough ago."""
        return time.monotonic() - self._tried_at >= _BETWEEN_SECONDS

    def is_due(self) -> bool:
        """Whether keys are old enough to be looked for again, though they go on being used."""
        return self.may_fetch() and time.monotonic() - self._found.at > _FRESH_SECONDS

    def fetch(self) -> None:
        """Look at what is published now. What goes wrong is in the log, and told by `key`."""
        self._tried_at = time.monotonic()
        try:
            keys = _keys_in(self._json(self._jwks_url or self._discovered()))
        except (URLError, HTTPException, OSError, ValueError, RecursionError) as error:
            self._tried_in_vain = True
            _log.error("The keys of %s cannot be had: %s", self._issuer, error)
            return
        self._found, self._tried_in_vain = _Fetched(keys, time.monotonic()), False

    def _discovered(self) -> str:
        """Where OpenID Connect Discovery 1.0 says that the keys are."""
        said = self._json(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        if not isinstance(said, dict) or said.get("issuer") != self._issuer:
            raise ValueError("its discovery document is another issuer's")
        url = said.get("jwks_uri")
        if not isinstance(url, str) or not _is_safe(url):
            raise ValueError("its discovery document names no safe address of keys")
        return url

    def _json(self, url: str) -> Any:
        until = time.monotonic() + _SLOWEST_SECONDS
        request = Request(url, headers={"Accept": "application/json"})  # noqa: S310 (see _is_safe)
        parts, size = [], 0
        with self._opener.open(request, timeout=_SLOWEST_SECONDS) as answer:
            while part := answer.read1(_LARGEST_BYTES):
                parts.append(part)
                size += len(part)
                if size > _LARGEST_BYTES or time.monotonic() > until:
                    raise ValueError("its answer is too long or too slow")
        return json.loads(b"".join(parts))


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _keys_in(said: Any) -> dict[str | None, PyJWK]:
    """The keys of a JSON Web Key Set that sign as we read it; ValueError for anything else than such a set."""
    rows = said.get("keys") if isinstance(said, dict) else None
    if not isinstance(rows, list) or len(rows) > _MOST_KEYS:
        raise ValueError("what it publishes is no set of keys")
    return dict(pair for row in rows if (pair := _key_in(row)) is not None)


def _key_in(row: Any) -> tuple[str | None, PyJWK] | None:
    """A key and its id; None for what is none that we read: others are to be passed over (RFC 7517, 5)."""
    match row:
        case {"kty": "RSA" | "EC" as kind} if row.get("use", "sig") == "sig":
            algorithm, key_id = _ALGORITHMS[kind], row.get("kid")
        case _:
            return None
    is_ours = row.get("alg", algorithm) == algorithm and row.get("crv", "P-256") == "P-256"
    if not is_ours or not isinstance(key_id, str | None):
        return None
    try:
        return key_id, PyJWK(row, algorithm)
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None


def _is_safe(url: str) -> bool:
    try:
        place = urlsplit(url)
    except ValueError:
        return False
    if place.scheme == "http":
        return is_loopback(place.hostname or "")
    return place.scheme == "https" and bool(place.hostname)
