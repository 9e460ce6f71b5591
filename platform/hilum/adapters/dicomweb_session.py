"""How a DICOMweb server is spoken to: credentials from the environment, and to nobody but the host that was named."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from hilum.core.errors import NotFoundError, RequestError

_TALKERS = ("dicomweb_client.web", "dicomweb_client.api", "urllib3.connectionpool", "urllib3.util.retry")
_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Access:
    """A bearer token, or a user and a password; none for a server that asks for none."""

    token: str | None = field(default=None, repr=False)
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


class OneHost(requests.Session):
    """A session that follows redirects only to where it was sent: same scheme, host and port."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target is not None and _origin(urljoin(resp.url, target)) != _origin(resp.url):
            raise RequestError("The DICOMweb server redirects to another host; name that one if it is meant.")
        return target


def session_for(url: str, access: Access) -> requests.Session:
    """A session that carries ``access`` to this server. Files such as .netrc are not asked."""
    session = OneHost()
    session.auth = _Signed(_origin(url), access)
    session.max_redirects = 3
    return session


@contextmanager
def silently() -> Iterator[None]:
    """Without the logs of those who speak for us: they write addresses and headers, patients and secrets in them."""
    talkers = [logging.getLogger(name) for name in _TALKERS]
    before = [talker.disabled for talker in talkers]
    for talker in talkers:
        talker.disabled = True
    try:
        yield
    finally:
        for talker, disabled in zip(talkers, before, strict=True):
            talker.disabled = disabled


def is_passing(error: BaseException) -> bool:
    """Whether trying again can help: the line broke, or the server says it is busy."""
    if isinstance(error, requests.HTTPError):
        return error.response is not None and error.response.status_code in _PASSING_STATUS
    if isinstance(error, requests.exceptions.SSLError):
        return False
    broken = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, broken)


def refusal(host: str, error: Exception) -> RequestError:
    """One sentence for what stayed wrong. Addresses and answers of the server are left out: they name patients."""
    status = error.response.status_code if isinstance(error, requests.HTTPError) and error.response is not None else 0
    if status in (401, 403):
        return RequestError(
            f"{host} does not let us in (HTTP {status}). Set HILUM_DICOMWEB_TOKEN, or HILUM_DICOMWEB_USER and "
            "HILUM_DICOMWEB_PASSWORD."
        )
    if status in (404, 405, 501):
        return NotFoundError(f"{host} has no DICOMweb service at this path, or not this search (HTTP {status}).")
    if status:
        return RequestError(f"{host} answers HTTP {status}, also when asked again. Ask who runs the server.")
    if isinstance(error, requests.exceptions.SSLError):
        return RequestError(f"The certificate of {host} is not trusted. Set REQUESTS_CA_BUNDLE to your hospital's.")
    if isinstance(error, requests.RequestException):
        return RequestError(f"{host} cannot be reached, or breaks off every time ({type(error).__name__}).")
    if isinstance(error, OSError):
        return RequestError(
            f"What {host} sends cannot be kept here ({error.strerror}). Set HILUM_DICOMWEB_CACHE to a roomier folder."
        )
    return RequestError(f"{host} sends something that is not DICOMweb ({type(error).__name__}).")


class _Signed(requests.auth.AuthBase):
    """Credentials for one origin. Requests to any other go out without."""

    def __init__(self, origin: tuple[str, str, int | None], access: Access) -> None:
        self._origin, self._access = origin, access

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        access = self._access
        if _origin(str(request.url)) != self._origin:
            return request
        if access.token is not None:
            request.headers["Authorization"] = f"Bearer {access.token}"
        elif access.user is not None:
            signed: Any = requests.auth.HTTPBasicAuth(access.user.encode(), (access.password or "").encode())
            signed(request)
        return request


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme)
