"""Tokens of an OpenID Connect issuer: whose each is, and what its claims let its owner do.

A token is a JSON Web Token (RFC 7519), signed RS256 or ES256 by a key that its issuer publishes, and meant for us by
its audience. What RFC 8725 warns of is refused: no other algorithm is read, and a key verifies by its own alone.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from pydantic import ValidationError

from hilum.adapters.callers import RIGHTS, Caller
from hilum.adapters.published_keys import PublishedKeys

_ALGORITHMS = ("RS256", "ES256")
_LEEWAY_SECONDS = 30
_LONGEST_TOKEN = 16 << 10
_PREFIX = "hilum:"


@dataclass(frozen=True)
class Trust:
    """Whose tokens are believed, and where they say what. A claim is a list of words, or words between spaces.

    ``scope_claim`` holds rights as ``hilum:predict``. ``models_claim`` and ``reads_claim`` hold names of models and
    ingests, as those of a key; without a ``models_claim`` a token is good for every model, without a ``reads_claim``
    for no stored volume.
    """

    issuer: str
    audience: str
    scope_claim: str = "scope"
    models_claim: str | None = None
    reads_claim: str | None = None
    per_minute: int = 0


class Issuer:
    """Knows whose a token is, by the ``keys`` that are at hand: it never waits for any."""

    def __init__(self, trust: Trust, keys: PublishedKeys) -> None:
        self._trust, self.keys = trust, keys

    def key_id(self, token: str) -> str | None:
        """The key that a token says it is signed with, None where it names none; ValueError for no such token."""
        if len(token) > _LONGEST_TOKEN:
            raise ValueError("too long")
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, RecursionError):
            raise ValueError("no token") from None
        if header.get("alg") not in _ALGORITHMS:
            raise ValueError("signed in another way")
        key_id: str | None = header.get("kid")
        return key_id

    def caller(self, token: str) -> Caller | None:
        """Whose token this is, nobody's if it is not good; UnreachableIssuerError while that cannot be said."""
        try:
            key = self.keys.key(self.key_id(token))
        except ValueError:
            return None
        if key is None:
            return None
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=self._trust.audience,
                issuer=self._trust.issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"], "enforce_minimum_key_length": True},
            )
            return self._of(claims)
        except (jwt.PyJWTError, ValidationError, OverflowError, RecursionError):
            return None

    def _of(self, claims: Mapping[str, Any]) -> Caller:
        trust = self._trust
        scopes = _words(claims, trust.scope_claim)
        return Caller(
            name=f"oidc:{claims['sub']}",
            sha256=hashlib.sha256(f"{trust.issuer}\n{claims['sub']}".encode()).hexdigest(),
            may=tuple(right for right in RIGHTS if _PREFIX + right in scopes),
            models=("*",) if trust.models_claim is None else _words(claims, trust.models_claim),
            reads=() if trust.reads_claim is None else _words(claims, trust.reads_claim),
            per_minute=trust.per_minute,
        )


def _words(claims: Mapping[str, Any], claim: str) -> tuple[str, ...]:
    said = claims.get(claim, ())
    if isinstance(said, str):
        return tuple(said.split())
    return tuple(word for word in said if isinstance(word, str)) if isinstance(said, list) else ()
