"""How Label Studio is spoken to: who we are, what is asked again when it fails, and what an error may say.

Whatever changes nothing by being asked twice is tried again, with growing and random pauses, while the server is
busy, restarting, or answers with a page of HTML, and no sooner than it asks for. Once that was in vain, for half a
minute every request is tried once. A request that would do something twice is sent once: whoever sends it looks
afterwards what became of it.

Neither addresses with signatures, nor headers, nor tokens are in any message: the SDK's own errors hold cookies.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from hilum.adapters.label_studio.keys import FILE, keys_named
from hilum.adapters.label_studio.local_access import ADDRESS, local_access
from hilum.adapters.label_studio.regions import shown
from hilum.core.errors import HilumError, NotFoundError, RequestError

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

URL = "HILUM_LABEL_STUDIO_URL"
TOKEN = "HILUM_LABEL_STUDIO_TOKEN"  # noqa: S105 (a variable's name)

NUM_TRIES = 8
LONGEST_PAUSE_SECONDS = 20.0
LONGEST_WAIT_SECONDS = 60.0
GIVEN_UP_SECONDS = 30.0
TIMEOUT_SECONDS = 120.0
"""Of one request. Five hundred tasks with drafts take a few seconds."""

_BUSY = frozenset({408, 425, 429})
_PAGE_SIZE = 500

T = TypeVar("T")


class UnsureError(HilumError):
    """A request was sent and its answer was lost: it may or may not have been carried out."""


@dataclass(frozen=True)
class Access:
    """Where Label Studio is, and the token of the account that hilum works as."""

    url: str
    token: str = field(repr=False)


def access() -> Access:
    """From the environment, else the Label Studio that `hilum label up` runs for this user; RequestError without."""
    url, tokens = os.environ.get(URL, ""), keys_named(TOKEN, remedy="copy it from your account's page in Label Studio")
    if not url and not tokens:
        local = local_access()
        if local is not None:
            return Access(local[ADDRESS], local["token"])
        raise RequestError(
            f"Which Label Studio? Set {URL} and {TOKEN} (or {TOKEN}{FILE}), or start one here with: hilum label up"
        )
    if not url or not tokens:
        raise RequestError(
            f"{URL if url else TOKEN} is set and {TOKEN if url else URL} is not; both say where and as whom."
        )
    return Access(checked_url(url), tokens[0].decode())


def checked_url(url: str) -> str:
    """An address without a slash at its end; RequestError when it is none."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise RequestError(f"{URL} must be an address like https://label-studio.example.org; given '{shown(url)}'.")
    return url.rstrip("/")


class Connection:
    """Label Studio through its SDK. Opening one sends nothing yet."""

    def __init__(self, access: Access, *, num_tries: int = NUM_TRIES, longest_pause: float = LONGEST_PAUSE_SECONDS):
        self.url = access.url
        self._access = access
        self._sdk: LabelStudio | None = None
        self._given_up_at: float | None = None
        self._pause = wait_random_exponential(multiplier=0.5, max=longest_pause)
        self._retrying = Retrying(
            stop=lambda state: state.attempt_number >= num_tries or self._is_given_up(),
            wait=lambda state: max(self._pause(state), _asked_for(state)),
            retry=retry_if_exception(_is_passing),
            reraise=True,
        )

    def ask(self, call: "Callable[[LabelStudio], T]") -> T:
        """What ``call`` returns, tried again while that can help. It must change nothing by being made twice."""
        try:
            found = self._retrying(call, self._client())
        except Exception as error:
            if _is_passing(error):
                self._given_up_at = time.monotonic()
            raise self._refusal(error) from None
        self._given_up_at = None
        return found

    def tell(self, call: "Callable[[LabelStudio], T]") -> T:
        """What ``call`` returns, made once; UnsureError when nobody can say whether it was carried out."""
        try:
            return call(self._client())
        except Exception as error:
            if _is_passing(error):
                raise UnsureError(str(self._refusal(error))) from None
            raise self._refusal(error) from None

    def tasks(
        self, project_id: int, *, include: str = "", filters: tuple[dict[str, Any], ...] = ()
    ) -> Iterator[dict[str, Any]]:
        """Every task of a project that passes ``filters``, by id; ``include`` names the only fields that are wanted.

        Pages begin after the last id that was seen, so tasks that come or go meanwhile shift nothing.
        """
        last = 0
        while True:
            after = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": last}
            query = {"ordering": ["tasks:id"], "filters": {"conjunction": "and", "items": [*filters, after]}}
            found = self._tasks_page(project_id, query=json.dumps(query), include=include or None)
            yield from found
            if len(found) < _PAGE_SIZE:
                return
            last = found[-1]["id"]

    def tasks_numbered(self, project_id: int, task_ids: list[int]) -> list[dict[str, Any]]:
        """These tasks with all that is known of them; those that are gone are left out."""
        # `selected_items` is not heeded here.
        these = {"filter": "filter:tasks:id", "operator": "in_list", "type": "Number", "value": task_ids}
        query = {"ordering": ["tasks:id"], "filters": {"conjunction": "and", "items": [these]}}
        found = self._tasks_page(project_id, query=json.dumps(query), fields="all")
        return [task for task in found if task["id"] in set(task_ids)]

    def _tasks_page(self, project_id: int, **words: Any) -> list[dict[str, Any]]:
        given = {key: value for key, value in words.items() if value is not None}
        page = self.ask(lambda sdk: sdk.tasks.list(project=project_id, page=1, page_size=_PAGE_SIZE, **given))
        return [item.model_dump(mode="json") for item in page.items or []]

    def _is_given_up(self) -> bool:
        return self._given_up_at is not None and time.monotonic() - self._given_up_at < GIVEN_UP_SECONDS

    def _client(self) -> "LabelStudio":
        if self._sdk is None:
            try:
                from label_studio_sdk import LabelStudio
            except ImportError:
                raise RequestError(
                    "Label Studio is spoken to through its SDK. Install it: pip install 'hilum[label-studio]'"
                ) from None
            self._sdk = LabelStudio(
                base_url=self._access.url, api_key=self._access.token, timeout=TIMEOUT_SECONDS, max_retries=0
            )
        return self._sdk

    def _refusal(self, error: Exception) -> HilumError:
        """One sentence for what stayed wrong."""
        if isinstance(error, HilumError):
            return error
        status = getattr(error, "status_code", None)
        if status is None:
            return HilumError(f"Label Studio at {self.url} cannot be reached, or breaks off ({type(error).__name__}).")
        if status in (401, 403):
            return RequestError(
                f"Label Studio at {self.url} does not let us in (HTTP {status}). Set {TOKEN} to a token of an account "
                "there; where legacy tokens are off, a personal access token."
            )
        if status == 404:
            return NotFoundError(f"Label Studio at {self.url} has no such thing: {_told(error)}.")
        if _is_passing(error):
            return HilumError(f"Label Studio at {self.url} is busy or out of order (HTTP {status}).")
        return RequestError(f"Label Studio at {self.url} refuses (HTTP {status}): {_told(error)}.")


def _is_passing(error: BaseException) -> bool:
    """Whether it may go away: the line broke, the server is busy, or something between us answers with a page."""
    import httpx

    if isinstance(error, httpx.TransportError | json.JSONDecodeError):
        return True
    status = getattr(error, "status_code", None)
    # The SDK's error with a good status is an answer that was no JSON.
    return isinstance(status, int) and (status in _BUSY or status >= 500 or status < 300)


def _asked_for(state: RetryCallState) -> float:
    """How long the server asks us to wait, in seconds: its Retry-After, up to a minute; a date is not heeded."""
    error = state.outcome.exception() if state.outcome is not None else None
    headers = getattr(error, "headers", None) or {}
    said = next((str(value) for name, value in headers.items() if name.lower() == "retry-after"), "")
    return min(float(said), LONGEST_WAIT_SECONDS) if said.isascii() and said.isdecimal() else 0.0


def _told(error: Exception) -> str:
    body = getattr(error, "body", None)
    if not isinstance(body, dict):
        return "it does not say why"
    said = body.get("validation_errors") or body.get("detail") or "it does not say why"
    return shown(said if isinstance(said, str) else json.dumps(said))
