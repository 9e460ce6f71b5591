"""Whether store and ledger are there, how full the store's disk is, and where aliases point."""

import shutil
from collections.abc import Mapping

from hilum.core.errors import HilumError
from hilum.core.ports import AliasLedger, Meter
from hilum.store.layout import Store, filesystem, is_local, require


class Places:
    """A part of an `Observer`: the first, for all others need both."""

    what = "places"

    def __init__(self, store: Store, ledger: AliasLedger) -> None:
        self._store, self._ledger = store, ledger
        self._up: tuple[bool, bool] = False, False
        self._aliases: Mapping[tuple[str, str], str] = {}
        self._disk: tuple[int, int] | None = None

    def look(self) -> None:
        store_up, ledger_up = self._store_answers(), self._ledger_answers()
        self._up = store_up, ledger_up
        if store_up and is_local(self._store.url):
            usage = shutil.disk_usage(filesystem(self._store.url)[1])
            self._disk = usage.free, usage.total

    def tell(self, meter: Meter) -> None:
        store_up, ledger_up = self._up
        meter.set("hilum_store_up", store_up)
        meter.set("hilum_ledger_up", ledger_up)
        for model, alias in self._aliases:
            meter.set("hilum_model_alias", 1, model=model, alias=alias)
        if self._disk is not None:
            free, size = self._disk
            meter.set("hilum_store_free_bytes", free)
            meter.set("hilum_store_size_bytes", size)

    def _store_answers(self) -> bool:
        try:
            require(self._store.settings_file, "store")
        except Exception:
            return False  # told as what it is: the store is not up
        return True

    def _ledger_answers(self) -> bool:
        try:
            self._aliases = self._ledger.aliases()
        except HilumError:
            return False
        return True
