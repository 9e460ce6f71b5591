"""Asking hilum's inference service from Python: images in, answers out, jobs followed to their end.

client = Client("http://127.0.0.1:8000", key)
client.segment("liver", "scan.nii.gz").save("answer.nii.gz")
"""

import io
import json
import os
import time
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from hilum.core.errors import ConflictError, DataError, HilumError, NotFoundError, RequestError

_ACCEPTED, _TRY_AGAIN = 202, (429, 503)
_ERRORS: Mapping[int, type[HilumError]] = {404: NotFoundError, 409: ConflictError, 422: DataError}
_LONGEST_WAIT_SECONDS = 60.0
_ANSWER_SECONDS = 120.0
"""Longer than the service itself takes before it gives an image up."""
_LOOK_SECONDS = (0.1, 2.0)
"""Between two looks at a job: at first, and in the end."""


@dataclass(frozen=True)
class Stored:
    """A volume of the service's store, instead of an image that is sent. The key must be one that reads its ingest."""

    volume: str
    ingest: str


Image = bytes | str | os.PathLike[str] | Stored
"""A file's content, a file, a folder of one DICOM series, or what is stored."""


@dataclass(frozen=True)
class Segmentation:
    """A label map as a file of the kind that was asked for, and who made it, with which versions ``beside``."""

    content: bytes = field(repr=False)
    media_type: str
    model: str
    version: str
    class_names: tuple[str, ...]
    uncertainty: float
    unlike: bool | None
    beside: tuple[str, ...] = ()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file."""
        Path(path).write_bytes(self.content)


class Client:
    """One service, asked with one key (None where it is open to everybody).

    Errors are hilum's own, with the sentence that the service said: NotFoundError, DataError, another RequestError, or
    HilumError where the fault is the service's. A service that is busy is asked again when it says, at most
    ``num_tries`` times in all; what becomes a job is waited for, at most ``seconds``.
    """

    def __init__(self, url: str, key: str | None = None, *, num_tries: int = 5, seconds: float = 3600.0) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise RequestError(f"A service is at http://… or https://…; given {url!r}.")
        self._url, self._num_tries, self._seconds = url.rstrip("/"), max(1, num_tries), seconds
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        # A redirect would carry the key to wherever it leads.
        self._opener = build_opener(_NoRedirects)

    def models(self) -> list[dict[str, Any]]:
        """Every model that answers, with its champion's version, question and class names."""
        found: list[dict[str, Any]] = self._json("/v1/models")["models"]
        return found

    def segment(self, model: str, image: Image, *, format: str = "nifti", **wishes: Any) -> Segmentation:  # noqa: A002
        """Where it is: a label map on the image's own grid, as nifti, npy, png, ome-zarr or dicom-seg.

        ``wishes`` are those of the service: quality, depth, mirrors, beside, later.
        """
        if format == "json":
            raise RequestError("Polygons and sizes come from `outline`.")
        content, headers = self._asked(model, "segment", image, {"format": format, **wishes})
        unlike = headers.get("hilum-unlike")
        return Segmentation(
            content,
            headers["content-type"],
            headers["hilum-model"],
            headers["hilum-version"],
            tuple(json.loads(headers["hilum-classes"])),
            float(headers["hilum-uncertainty"]),
            None if unlike is None else unlike == "true",
            tuple(headers["hilum-beside"].split(",")) if "hilum-beside" in headers else (),
        )

    def outline(self, model: str, image: Image, *, biomarkers: bool = False, **wishes: Any) -> dict[str, Any]:
        """Where it is, as polygons and sizes of every class."""
        return self._told(model, "segment", image, {"format": "json", "biomarkers": biomarkers, **wishes})

    def classify(self, model: str, image: Image, **wishes: Any) -> dict[str, Any]:
        """What it is: a probability for every class."""
        return self._told(model, "classify", image, wishes)

    def score(self, model: str, image: Image, **wishes: Any) -> dict[str, Any]:
        """How unsure the model is: what a campaign would rank the image by."""
        return self._told(model, "score", image, wishes)

    def _told(self, model: str, verb: str, image: Image, wishes: Mapping[str, Any]) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self._asked(model, verb, image, wishes)[0])
        return said

    def _asked(self, model: str, verb: str, image: Image, wishes: Mapping[str, Any]) -> tuple[bytes, Mapping[str, str]]:
        """The answer, at once or from its job."""
        query = urlencode({name: _words(value) for name, value in wishes.items() if value is not None}, doseq=True)
        body, content_type = _body(image)
        path = f"/v1/models/{quote(model, safe='@:')}/{verb}?{query}"
        status, content, headers = self._request(path, "POST", body, {"Content-Type": content_type})
        return self._followed(json.loads(content)["url"]) if status == _ACCEPTED else (content, headers)

    def _followed(self, job: str) -> tuple[bytes, Mapping[str, str]]:
        """What a job ends with. Nobody waits for one that is not waited for any more: it is cancelled."""
        until, pause = time.monotonic() + self._seconds, _LOOK_SECONDS[0]
        try:
            while (state := self._json(job))["status"] in ("waiting", "running"):
                if time.monotonic() > until:
                    raise RequestError(f"The image was not answered within {self._seconds:g} seconds.")
                time.sleep(pause)
                pause = min(_LOOK_SECONDS[1], 1.5 * pause)
            if state["status"] != "done":
                raise RequestError(state["error"] or f"The image was not answered: its job is {state['status']}.")
            _, content, headers = self._request(f"{job}/result")
        finally:
            # Over or not: a result that was fetched, or is not wanted, need not be kept.
            with suppress(HilumError):
                self._request(job, "DELETE")
        return content, headers

    def _json(self, path: str) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self._request(path)[1])
        return said

    def _request(
        self, path: str, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, content and headers of a good answer; a busy service is asked again."""
        request = Request(  # noqa: S310 (http and https alone, see __init__)
            self._url + path, body, {**self._headers, **(headers or {})}, method=method
        )
        for left in range(self._num_tries - 1, -1, -1):
            try:
                with self._opener.open(request, timeout=_ANSWER_SECONDS) as answer:
                    return answer.status, answer.read(), {k.lower(): v for k, v in answer.headers.items()}
            except HTTPError as error:
                with error:
                    seconds = _retry_after(error)
                    if not left or error.code not in _TRY_AGAIN or seconds is None:
                        _refuse(error)
                time.sleep(seconds)
            except (URLError, HTTPException, OSError) as error:
                reason = getattr(error, "reason", error)
                raise HilumError(f"The service at {self._url} cannot be reached: {reason}.") from None
        raise AssertionError("the last try returns or raises")


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _body(image: Image) -> tuple[bytes, str]:
    if isinstance(image, Stored):
        return json.dumps({"volume": image.volume, "ingest": image.ingest}).encode(), "application/json"
    if isinstance(image, bytes):
        return image, "application/octet-stream"
    path = Path(image)
    try:
        return _zipped(path) if path.is_dir() else path.read_bytes(), "application/octet-stream"
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read ({error.strerror}).") from None


def _zipped(folder: Path) -> bytes:
    """The files of a folder; their names stay here."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number, file in enumerate(sorted(one for one in folder.iterdir() if one.is_file())):
            archive.writestr(f"{number:05d}", file.read_bytes())
    return stream.getvalue()


def _words(value: Any) -> list[str]:
    values = value if isinstance(value, list | tuple) else [value]
    return [str(one).lower() if isinstance(one, bool) else str(one) for one in values]


def _retry_after(error: HTTPError) -> float | None:
    """After how many seconds to ask again; None where nobody said, or it is too long to wait."""
    said = error.headers.get("Retry-After", "")
    seconds = float(said) if said.isascii() and said.isdecimal() else _LONGEST_WAIT_SECONDS + 1
    return seconds if seconds <= _LONGEST_WAIT_SECONDS else None


def _refuse(error: HTTPError) -> NoReturn:
    """The service's sentence as hilum's error."""
    try:
        sentence = str(json.loads(error.read())["error"])
    except (ValueError, KeyError, TypeError, OSError, HTTPException):
        sentence = f"The service answered {error.code} {error.reason}."
    is_callers = error.code in range(400, 500) or error.code in _TRY_AGAIN
    raise _ERRORS.get(error.code, RequestError if is_callers else HilumError)(sentence)
