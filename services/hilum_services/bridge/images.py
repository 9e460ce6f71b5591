"""GET /v1/images/…: pictures behind signed addresses, for a browser that loads them across origins."""

import time

from fastapi import APIRouter, Request, Response

from hilum.adapters.label_studio.links import IMAGES, Signer, place_of
from hilum_services.bridge.pictures import Pictures, etag_of
from hilum_services.refusals import refusal

LONGEST_CACHED_SECONDS = 24 * 3600
_MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg"}
_REFUSED = {
    "unsigned": (401, "This address is not signed."),
    "forged": (403, "This address is not one of ours, or was changed."),
    "expired": (403, "This address has expired; load the task again."),
}


def images_router(pictures: Pictures, signer: Signer | None) -> APIRouter:
    """The route. Without a signer anybody may see every picture: for a loopback alone."""
    router = APIRouter()

    # Not async: drawing takes its time, and FastAPI gives it a thread.
    @router.api_route(f"{IMAGES}/{{rest:path}}", methods=["GET", "HEAD"])
    def image(request: Request, rest: str, expires: str | None = None, signature: str | None = None) -> Response:
        path = f"{IMAGES}/{rest}"
        if signer is not None:
            verdict = signer.check(path, expires, signature)
            if verdict != "good":
                return refusal(*_REFUSED[verdict])
        place = place_of(path)
        view = pictures.find(place)
        etag = etag_of(place)
        headers = {"ETag": etag, "Cache-Control": _cache_control(expires if signer else None)}
        if _is_known(request.headers.get("if-none-match", ""), etag):
            return Response(status_code=304, headers=headers)
        return Response(pictures.draw(place, view), media_type=_MEDIA_TYPES[place.encoding], headers=headers)

    return router


def _cache_control(expires: str | None) -> str:
    """Kept by one person's browser, and not for longer than the address may be opened."""
    left = LONGEST_CACHED_SECONDS if expires is None else max(0, int(int(expires) - time.time()))
    return f"private, max-age={min(left, LONGEST_CACHED_SECONDS)}, immutable"


def _is_known(if_none_match: str, etag: str) -> bool:
    """RFC 9110, 13.1.2: weak comparison, any of a list, or anything."""
    told = [word.strip().removeprefix("W/") for word in if_none_match.split(",")]
    return etag in told or told == ["*"]
