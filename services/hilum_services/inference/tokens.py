"""Tokens beside keys: an issuer's keys are fetched by one thread, and whoever needs them waits for that one fetch."""

import asyncio
from typing import TYPE_CHECKING

from hilum.adapters.callers import Caller
from hilum.adapters.oidc import Issuer, Trust
from hilum.adapters.published_keys import PublishedKeys, UnreachableIssuerError
from hilum.core.errors import RequestError

if TYPE_CHECKING:
    from hilum.cli.settings import Settings

_LONGEST_WAIT_SECONDS = 10.0


class Tokens:
    """Whose a token is. Used in one event loop."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._fetching: asyncio.Task[None] | None = None

    async def caller(self, token: str) -> Caller | None:
        """Whose token this is, nobody's if it is not good; UnreachableIssuerError while that cannot be said."""
        keys = self._issuer.keys
        try:
            key_id = self._issuer.key_id(token)
        except ValueError:
            return None
        if keys.lacks(key_id) and (self._fetching is not None or keys.may_fetch()):
            await self._fetched()
        elif keys.is_due():
            self._fetch()
        return self._issuer.caller(token)

    async def _fetched(self) -> None:
        try:
            await asyncio.wait_for(asyncio.shield(self._fetch()), _LONGEST_WAIT_SECONDS)
        except TimeoutError:
            raise UnreachableIssuerError("The issuer of tokens does not answer.") from None

    def _fetch(self) -> "asyncio.Task[None]":
        if self._fetching is None:
            self._fetching = asyncio.create_task(asyncio.to_thread(self._issuer.keys.fetch))
            self._fetching.add_done_callback(self._over)
        return self._fetching

    def _over(self, _: "asyncio.Task[None]") -> None:
        self._fetching = None


def tokens_of(settings: "Settings") -> Tokens | None:
    """The tokens that the settings trust, None where they name no issuer; RequestError where they say but half."""
    if settings.oidc_issuer is None:
        return None
    if not settings.oidc_audience:
        raise RequestError(
            "For whom are the issuer's tokens? Set HILUM_OIDC_AUDIENCE to what 'aud' says in those that are meant for "
            "this service; an issuer signs tokens for others too."
        )
    trust = Trust(
        settings.oidc_issuer,
        settings.oidc_audience,
        settings.oidc_scope_claim,
        settings.oidc_models_claim,
        settings.oidc_reads_claim,
        settings.oidc_per_minute,
    )
    return Tokens(Issuer(trust, PublishedKeys(trust.issuer, settings.oidc_jwks_url)))
