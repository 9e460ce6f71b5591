"""Addresses of a task's pages: whose key, until when, and when they are worth renewing."""

import json
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from hilum.adapters.label_studio.links import Signer
from hilum.adapters.label_studio.page_links import PageLinks, page_links
from hilum.adapters.label_studio.pages import View
from hilum.adapters.label_studio.slices import Pages
from hilum.core.errors import RequestError
from hilum.core.geometry import Patch

KEY = "k" * 32
PAGES = Pages(Patch("volume", (0, 0, 0), (3, 8, 8)), (0, 0, 0), (3, 8, 8), (0, 1), (1, 1), (2, 1))


@pytest.fixture(autouse=True)
def nothing_local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HILUM_LABEL_STUDIO_HOME", str(tmp_path))


def links(days: int = 30, base: str = "https://images.example.org") -> PageLinks:
    return PageLinks(base, base, days, Signer((KEY.encode(),)))


def test_every_page_has_an_address_that_its_key_opens() -> None:
    urls = links().of("ingest", View(PAGES))
    assert len(set(urls)) == 3
    for url in urls:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        ends, signature = query["expires"][0], query["signature"][0]
        assert Signer((KEY.encode(),)).check(parts.path, ends, signature) == "good"
        assert 30 * 86_400 <= int(ends) - time.time() <= 31 * 86_400


def test_new_addresses_are_not_ending_and_old_ones_are() -> None:
    assert not links(30).are_ending(links(30).of("ingest", View(PAGES)))
    assert links(30).are_ending(links(1).of("ingest", View(PAGES)))
    assert links(30).are_ending(links(30, "https://elsewhere.example.org").of("ingest", View(PAGES)))
    assert all(links().are_ending(odd) for odd in (None, [], [7], ["https://images.example.org/x"], "text"))


def test_the_environment_says_where_and_with_which_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="hilum label up"):
        page_links(30)
    monkeypatch.setenv("HILUM_BRIDGE_URL", "https://images.example.org/")
    with pytest.raises(RequestError, match="both"):
        page_links(30)
    monkeypatch.setenv("HILUM_BRIDGE_KEY", KEY)
    found = page_links(30)
    assert (found.base_url, found.webhook_url, found.webhook_secret) == (*["https://images.example.org"] * 2, None)
    monkeypatch.setenv("HILUM_BRIDGE_URL_INSIDE", "http://bridge:9090")
    monkeypatch.setenv("HILUM_WEBHOOK_SECRET", "s" * 32)
    found = page_links(30)
    assert (found.webhook_url, found.webhook_secret) == ("http://bridge:9090", b"s" * 32)
    assert KEY not in repr(found)
    assert "s" * 32 not in repr(found)


def test_the_local_bridge_is_found(tmp_path: Path) -> None:
    known = {"url": "http://127.0.0.1:8080", "token": "t" * 40, "user": "a@example.com"}
    known |= {"bridge_url": "http://127.0.0.1:9090", "bridge_key": KEY, "webhook_secret": "s" * 32}
    (tmp_path / "access.json").write_text(json.dumps(known))
    assert page_links(30).base_url == "http://127.0.0.1:9090"
