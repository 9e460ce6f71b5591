"""Addresses of pictures: what they show, until when they may be opened, and who says so.

An address holds all that is needed to draw its picture, so that the bridge keeps nothing and may run many times
over. It is signed (HMAC-SHA-256 of path and expiry) because a browser that fetches an image with
``crossOrigin="anonymous"`` sends neither cookies nor headers of ours.

    /v1/images/<ingest>/<volume>/<z-y-x>/<d-h-w>/<view>/<page>.png?expires=<seconds>&signature=<hex>
"""

import hashlib
import hmac
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import urlsplit

from hilum.core.errors import NotFoundError, RequestError
from hilum.core.geometry import Patch, Zyx

IMAGES = "/v1/images"
LONGEST_PATH = 600

Shows = Literal["page", "planes"]
"""A page of the task, or three planes of the whole item through the middle of that page's part of the patch."""

Encoding = Literal["png", "jpg"]
Verdict = Literal["good", "unsigned", "forged", "expired"]

_ID = "[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
_THREE = r"\d{1,6}-\d{1,6}-\d{1,6}"
_PLACE = re.compile(
    rf"{IMAGES}/(?P<ingest>{_ID})/(?P<volume>{_ID})/(?P<start>{_THREE})/(?P<shape>{_THREE})"
    rf"/(?P<view>[A-Za-z0-9][A-Za-z0-9.-]{{0,99}})/(?P<planes>planes-)?(?P<page>\d{{1,5}})\.(?P<encoding>png|jpg)",
    re.ASCII,
)
_EXPIRES = re.compile(r"\d{1,12}", re.ASCII)
_SIGNATURE = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class ImagePlace:
    """Which picture. ``view`` is a word of `pages.View`; ``page`` counts from 0."""

    ingest_id: str
    patch: Patch
    view: str
    page: int
    shows: Shows = "page"
    encoding: Encoding = "png"

    def __post_init__(self) -> None:
        # What this writes, `place_of` must read: an id that it would refuse is refused here.
        if not _PLACE.fullmatch(self.path):
            raise RequestError(f"No address can be made of ingest '{self.ingest_id}' and {self.patch}.")

    @property
    def path(self) -> str:
        """The address's path, the same for the same picture always."""
        patch, name = self.patch, f"{'planes-' if self.shows == 'planes' else ''}{self.page}.{self.encoding}"
        start, shape = ("-".join(map(str, three)) for three in (patch.start_zyx, patch.shape_zyx))
        return f"{IMAGES}/{self.ingest_id}/{patch.volume_id}/{start}/{shape}/{self.view}/{name}"


def place_of(path: str) -> ImagePlace:
    """The picture that a path names; NotFoundError for anything that `ImagePlace.path` does not write."""
    found = _PLACE.fullmatch(path) if len(path) <= LONGEST_PATH else None
    if found is None:
        raise NotFoundError("No picture has this address.")
    patch = Patch(found["volume"], _three(found["start"]), _three(found["shape"]))
    encoding = next(word for word in get_args(Encoding) if word == found["encoding"])
    place = ImagePlace(
        found["ingest"],
        patch,
        found["view"],
        int(found["page"]),
        "planes" if found["planes"] else "page",
        encoding,
    )
    if place.path != path:  # 007 is 7: one picture has one address
        raise NotFoundError("No picture has this address.")
    return place


class Signer:
    """Signs addresses with its first key and believes all of them, so that keys can be changed without a break."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise RequestError("Addresses of images need a key: set HILUM_BRIDGE_KEY or HILUM_BRIDGE_KEY_FILE.")
        self._keys = tuple(keys)

    def __repr__(self) -> str:
        return f"Signer({len(self._keys)} keys)"

    def url(self, base_url: str, place: ImagePlace, expires_at: float) -> str:
        """The picture's whole address, good until ``expires_at`` (seconds since 1970, rounded up to a whole one)."""
        base = urlsplit(base_url)
        if base.scheme not in {"http", "https"} or not base.netloc or base.query or base.fragment or base.username:
            raise RequestError(f"The bridge's address must be like https://bridge.example.org; given {base_url!r}.")
        expires = str(-int(-expires_at // 1))
        signature = _signature(self._keys[0], place.path, expires)
        return f"{base_url.rstrip('/')}{place.path}?expires={expires}&signature={signature}"

    def check(self, path: str, expires: str | None, signature: str | None, *, now: float | None = None) -> Verdict:
        """Whether the path may be opened. Signatures are compared in constant time, and before the clock is asked."""
        if not expires or not signature:
            return "unsigned"
        if not _EXPIRES.fullmatch(expires) or not _SIGNATURE.fullmatch(signature) or len(path) > LONGEST_PATH:
            return "forged"
        # Every key is compared: which of them it was is not told.
        if not any([hmac.compare_digest(_signature(key, path, expires), signature) for key in self._keys]):  # noqa: C419
            return "forged"
        return "good" if int(expires) >= (time.time() if now is None else now) else "expired"


def _signature(key: bytes, path: str, expires: str) -> str:
    message = f"{path}\n{expires}".encode(errors="surrogatepass")
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def _three(text: str) -> Zyx:
    z, y, x = (int(word) for word in text.split("-"))
    return z, y, x
