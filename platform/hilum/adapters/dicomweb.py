"""A PACS as a source: ``dicomweb+https://host/dicom-web?PatientID=…`` is searched, fetched and then read as files.

QIDO-RS lists, WADO-RS fetches (PS3.18). What is fetched lies in a private folder and is gone
when the ingest is over. No message and no log repeats the query or an address below the
host: both can name a patient.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import requests
import tenacity
from dicomweb_client.web import DICOMwebClient

from hilum.adapters.dicom_header import quietly
from hilum.adapters.dicomweb_cache import private_folder
from hilum.adapters.dicomweb_session import Access, is_passing, refusal, session_for, silently
from hilum.core.errors import HilumError, NotFoundError, RequestError, unknown_name

PREFIX = "dicomweb+"
STUDY_KEYS = (
    "StudyInstanceUID",
    "PatientID",
    "PatientName",
    "StudyDate",
    "AccessionNumber",
    "ModalitiesInStudy",
    "StudyID",
    "StudyDescription",
)
SERIES_KEYS = ("Modality", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "BodyPartExamined")
PAGE = 500
ATTEMPTS = 5
_AT_ONCE = 4
_STUDY_UID, _SERIES_UID, _NUM_INSTANCES = "0020000D", "0020000E", "00201209"
_ANY_SYNTAX = (("application/dicom", "*"),)  # as stored: nothing is decompressed or recompressed on the way
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

T = TypeVar("T")


@dataclass(frozen=True)
class Query:
    """What is wanted from which server."""

    url: str
    host: str
    of_study: tuple[dict[str, str], ...] = field(repr=False)
    of_series: tuple[dict[str, str], ...] = field(repr=False)


@dataclass(frozen=True)
class _Series:
    study_uid: str = field(repr=False)
    series_uid: str = field(repr=False)
    num_instances: int | None


def is_dicomweb(where: str) -> bool:
    return where.startswith(PREFIX)


def parse_query(where: str) -> Query:
    """A server's address and what to search for. A key given twice means either value."""
    parts = urlsplit(where.removeprefix(PREFIX))
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise RequestError("A DICOMweb source is dicomweb+https://HOST/PATH?PatientID=… (or another key).")
    if parts.username or parts.password:
        raise RequestError("Keep credentials out of the address; set HILUM_DICOMWEB_TOKEN, or _USER and _PASSWORD.")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise RequestError("Patients' images travel by https only; plain http is for this machine (localhost).")
    wanted: dict[str, list[str]] = {}
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key not in STUDY_KEYS + SERIES_KEYS:
            raise RequestError(unknown_name("search key", key[:40], STUDY_KEYS + SERIES_KEYS))
        if not value:
            raise RequestError(f"The search key {key} has no value.")
        wanted.setdefault(key, []).append(value)
    if not wanted:
        raise RequestError(f"Say what to fetch, not the whole archive: add ?KEY=VALUE; keys: {', '.join(STUDY_KEYS)}.")
    url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    return Query(url, parts.netloc, _combinations(wanted, STUDY_KEYS), _combinations(wanted, SERIES_KEYS))


@contextmanager
def fetched(where: str, access: Access, *, cache: str | None = None, first_wait_s: float = 0.5) -> Iterator[str]:
    """A folder with everything that ``where`` finds, for as long as the context lasts.

    ``cache`` is the folder to make it in: one that all workers see, where they are on other machines.
    """
    query = parse_query(where)
    with private_folder(cache) as folder:
        with silently():
            _fetch_all(query, access, folder, first_wait_s)
        yield str(folder)


def _fetch_all(query: Query, access: Access, folder: Path, first_wait_s: float) -> None:
    again = tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_passing),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_exponential(multiplier=first_wait_s, max=30) + tenacity.wait_random(0, first_wait_s),
        reraise=True,
    )
    with session_for(query.url, access) as session:
        found = list(_found(_client(query, session), query, again))
    if not found:
        raise NotFoundError(f"{query.host} has no series that matches the search.")

    def fetch(series: _Series) -> None:
        # A connection pool of its own: a session is no thing for several threads.
        with session_for(query.url, access) as own:
            _fetch(_client(query, own), series, folder / _name(series.series_uid), query, again)

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool, quietly():
        for _ in pool.map(fetch, found):
            pass


def _found(client: DICOMwebClient, query: Query, again: tenacity.Retrying) -> Iterator[_Series]:
    """Every series that matches, once, in the order of its UIDs. Only searches that every server must know are used."""
    studies = {
        _value(study, _STUDY_UID): None
        for wanted in query.of_study
        for study in _pages(client.search_for_studies, wanted, query, again)
    }
    found: dict[tuple[str, str], _Series] = {}
    for study_uid, wanted in itertools.product(sorted(studies), query.of_series):
        for one in _pages(client.search_for_series, wanted, query, again, study_instance_uid=study_uid):
            count = _value(one, _NUM_INSTANCES)
            series = _Series(study_uid, _value(one, _SERIES_UID), int(count) if count else None)
            found.setdefault((study_uid, series.series_uid), series)
    return (found[key] for key in sorted(found))


def _pages(
    search: Callable[..., list[dict[str, Any]]],
    wanted: dict[str, str],
    query: Query,
    again: tenacity.Retrying,
    **of: str,
) -> Iterator[dict[str, Any]]:
    """Page after page, until one brings nothing new: servers have limits of their own, and some know no offset."""
    seen: set[str] = set()
    while True:
        ask = {"search_filters": dict(wanted), "limit": PAGE, "offset": len(seen), **of}
        page = _told(query, again, lambda ask=ask: search(**ask))  # type: ignore[misc]
        new = [one for one in page if str(one) not in seen]
        if not new:
            return
        seen.update(str(one) for one in new)
        yield from new


def _fetch(client: DICOMwebClient, series: _Series, folder: Path, query: Query, again: tenacity.Retrying) -> None:
    """All instances of one series. Fewer than the server itself counts is an error, not a smaller series."""
    folder.mkdir()

    def fetch() -> int:
        names = set()
        for dataset in client.iter_series(series.study_uid, series.series_uid, media_types=_ANY_SYNTAX):
            if str(dataset.SeriesInstanceUID) != series.series_uid:
                raise RequestError(f"{query.host} sent an instance of another series than the one asked for.")
            name = f"{_name(str(dataset.SOPInstanceUID))}.dcm"
            dataset.save_as(folder / name, enforce_file_format=False)
            names.add(name)
        return len(names)

    num = _told(query, again, fetch)
    if series.num_instances is not None and num < series.num_instances:
        raise RequestError(
            f"{query.host} sent {num} of the {series.num_instances} instances that it counts in a series. "
            "Try again; if it stays so, ask who runs the server."
        )


def _told(query: Query, again: tenacity.Retrying, do: Callable[[], T]) -> T:
    """What ``do`` returns, tried again where that can help; what stays wrong is one sentence without addresses."""
    try:
        return again(do)
    except HilumError:
        raise
    except Exception as error:
        # What a stranger's answer does to a parser can be anything, and may quote the answer.
        raise refusal(query.host, error) from None


def _client(query: Query, session: requests.Session) -> DICOMwebClient:
    client = DICOMwebClient(query.url, session=session, timeout=(10, 120))
    client.set_http_retry_params(retry=False)  # tenacity does, and over whole series
    return client


def _combinations(wanted: dict[str, list[str]], keys: Sequence[str]) -> tuple[dict[str, str], ...]:
    """One search for every combination of the values given: QIDO matches one value a key."""
    used = [key for key in keys if key in wanted]
    return tuple(dict(zip(used, values, strict=True)) for values in itertools.product(*(wanted[key] for key in used)))


def _value(found: dict[str, Any], tag: str) -> str:
    values: Iterable[Any] = found.get(tag, {}).get("Value") or [""]
    return str(next(iter(values)))


def _name(uid: str) -> str:
    """The same name for the same thing in every fetch, so that ingesting it again is 'already done'."""
    return hashlib.sha256(uid.encode()).hexdigest()[:32]
