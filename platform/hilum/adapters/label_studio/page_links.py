"""Addresses of a task's pages, as its browser will ask the bridge for them."""

import os
import time
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from hilum.adapters.label_studio.keys import BRIDGE_KEY, FILE, WEBHOOK_SECRET, keys_named
from hilum.adapters.label_studio.links import ImagePlace, Signer
from hilum.adapters.label_studio.local_access import local_access
from hilum.adapters.label_studio.pages import View
from hilum.core.errors import RequestError

BRIDGE_URL = "HILUM_BRIDGE_URL"
BRIDGE_URL_INSIDE = "HILUM_BRIDGE_URL_INSIDE"

_DAY_SECONDS = 86_400
_DAYS_TO_SPARE = 0.25


@dataclass(frozen=True)
class PageLinks:
    """Where the bridge is for browsers (``base_url``) and for Label Studio (``webhook_url``), and how long links live.

    Links end at whole days, so that the same page has the same address all day and browsers keep it.
    """

    base_url: str
    webhook_url: str
    days: int
    signer: Signer = field(repr=False)
    webhook_secret: bytes | None = field(default=None, repr=False)

    def of(self, ingest_id: str, view: View) -> list[str]:
        """The addresses of all pages, in order."""
        pages = view.pages
        ends = (time.time() // _DAY_SECONDS + 1 + self.days) * _DAY_SECONDS
        return [
            self.signer.url(self.base_url, ImagePlace(ingest_id, pages.patch, view.word, page), ends)
            for page in range(pages.num_pages)
        ]

    def are_ending(self, urls: object) -> bool:
        """Whether addresses end within a quarter of their days, or lead elsewhere than to this bridge."""
        if not isinstance(urls, list) or not urls or not isinstance(urls[0], str):
            return True
        ends = parse_qs(urlsplit(urls[0]).query).get("expires", ["0"])[0]
        soon = time.time() + self.days * _DAYS_TO_SPARE * _DAY_SECONDS
        return not urls[0].startswith(f"{self.base_url}/") or not ends.isdecimal() or int(ends) < soon


def page_links(days: int) -> PageLinks:
    """From the environment, else the bridge of `hilum label up`; RequestError without either."""
    url, keys = os.environ.get(BRIDGE_URL, ""), keys_named(BRIDGE_KEY)
    secrets = keys_named(WEBHOOK_SECRET)
    if url and keys:
        base = url.rstrip("/")
        inside = os.environ.get(BRIDGE_URL_INSIDE, base).rstrip("/")
        return PageLinks(base, inside, days, Signer(keys), *secrets[:1])
    if url or keys:
        raise RequestError(f"Set {BRIDGE_URL} and {BRIDGE_KEY} (or {BRIDGE_KEY}{FILE}) both: where, and what signs.")
    local = local_access()
    if local is None or not local.get("bridge_url") or not local.get("bridge_key"):
        raise RequestError(
            f"Label Studio shows images that the bridge serves. Set {BRIDGE_URL} and {BRIDGE_KEY}, or start both here "
            "with: hilum label up"
        )
    signer = Signer((local["bridge_key"].encode(),))
    return PageLinks(local["bridge_url"], local["bridge_url"], days, signer, local["webhook_secret"].encode())
