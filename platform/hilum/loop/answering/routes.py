"""Which version answers when a model is named and no version: its champion, or for a share of requests its canary.

A canary and a shadow are aliases of the model in the ledger; the canary's share lies beside them in the store, in
models/<model>/canary.json. Without that file nobody is sent to it.
"""

import hashlib
from dataclasses import dataclass

from hilum.core.errors import CorruptionError, NotFoundError, RequestError
from hilum.core.ports import AliasLedger
from hilum.steps.promote import CHAMPION
from hilum.store.layout import Store, filesystem
from hilum.store.manifest import read_json, write_json

CANARY, SHADOW = "canary", "shadow"
FORMAT_VERSION = 1
_PARTS = 1 << 32


@dataclass(frozen=True)
class Routes:
    """Who else there is beside the champion. ``share`` of requests, 0 to 1, are the canary's."""

    canary: str | None = None
    share: float = 0.0
    shadow: str | None = None

    def alias_for(self, request_id: str) -> str:
        """The alias that answers this request: the same whoever asks again with the same id."""
        if self.canary is None or not self.share:
            return CHAMPION
        number = int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:4], "big")
        return CANARY if number < self.share * _PARTS else CHAMPION


def routes_of(store: Store, ledger: AliasLedger, model: str) -> Routes:
    """The routes of a model as they are now."""
    aliases = ledger.aliases()
    canary, shadow = (aliases.get((model, alias)) for alias in (CANARY, SHADOW))
    return Routes(canary, _share(store, model) if canary else 0.0, shadow)


def send_to_canary(store: Store, ledger: AliasLedger, model: str, checkpoint_id: str, share: float) -> None:
    """Have a share of a model's requests answered by this checkpoint."""
    if not 0 < share <= 1:
        raise RequestError(f"A canary's share is above 0 and at most 1; given {share:g}.")
    _point(ledger, model, CANARY, checkpoint_id)
    write_json(_url(store, model), {"format_version": FORMAT_VERSION, "share": share})


def compare_in_shadow(ledger: AliasLedger, model: str, checkpoint_id: str) -> None:
    """Have every request answered by this checkpoint too, and the answers compared; callers see none of it."""
    _point(ledger, model, SHADOW, checkpoint_id)


def settle(store: Store, ledger: AliasLedger, model: str) -> list[str]:
    """The champion answers alone again; which aliases ended."""
    ended = [alias for alias in (CANARY, SHADOW) if ledger.alias(model, alias) is not None]
    for alias in ended:
        ledger.drop(model, alias)
    fs, path = filesystem(_url(store, model))
    if fs.exists(path):
        fs.rm_file(path)
    return ended


def _point(ledger: AliasLedger, model: str, alias: str, checkpoint_id: str) -> None:
    if ledger.alias(model, CHAMPION) is None:
        raise RequestError(f"Model '{model}' has no champion yet; promote one first.")
    ledger.point(model, alias, checkpoint_id, expected=ledger.alias(model, alias))


def _share(store: Store, model: str) -> float:
    try:
        found = read_json(_url(store, model))
    except NotFoundError:
        return 0.0
    if found.get("format_version", 0) > FORMAT_VERSION:
        raise CorruptionError(f"{_url(store, model)} has format {found['format_version']}, newer than this hilum.")
    return float(found["share"])


def _url(store: Store, model: str) -> str:
    return store.path("models", model, "canary.json")
