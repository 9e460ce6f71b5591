"""A hilum command line as a Ray Job on a cluster that is already running.

The cluster must have hilum installed. What is sent: the words of the command, the settings
that say where things are, and a working folder if one is named. Secrets are never sent: a
job's environment is shown on the cluster's dashboard.
"""

import asyncio
import os
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hilum.adapters.ray_tokens import find_token, is_switched_off
from hilum.core.errors import HilumError, NotFoundError, RequestError

POLL_SECONDS = 0.5
_FAILED_EXIT_CODE = 4


def connect(address: str) -> Any:
    """A client of the cluster's job server (its dashboard, ``http://host:8265``); RequestError if it refuses."""
    from ray.job_submission import JobSubmissionClient

    if not address.startswith(("http://", "https://")):
        raise RequestError(
            f"Jobs are submitted to the cluster's dashboard, such as http://host:8265; given '{address}'."
        )
    with _explaining(address), _unset("RAY_ADDRESS"):  # it would go before the address that was given
        return JobSubmissionClient(address, headers=_token_headers())


def submit(client: Any, words: Sequence[str], *, environment: Mapping[str, str], working_dir: Path | None) -> str:
    """Start ``hilum WORDS…`` as a job and return its id."""
    runtime_env: dict[str, Any] = {"env_vars": dict(environment)}
    if working_dir is not None:
        runtime_env["working_dir"] = str(working_dir)
    with _explaining(client.get_address()):
        job_id = client.submit_job(entrypoint=entrypoint(words), runtime_env=runtime_env)
    return str(job_id)


def entrypoint(words: Sequence[str]) -> str:
    """The job's shell command; every word arrives as it was given."""
    return shlex.join(["python", "-m", "hilum", *words])


def follow(client: Any, job_id: str, show: Callable[[str], None]) -> int:
    """Show a job's log as it grows, wait for its end and return its exit code."""
    with _explaining(client.get_address(), job_id):
        client.get_job_status(job_id)
        _show_log(client, job_id, show)
        while not client.get_job_status(job_id).is_terminal():
            time.sleep(POLL_SECONDS)
        return _exit_code(client.get_job_info(job_id))


def _show_log(client: Any, job_id: str, show: Callable[[str], None]) -> None:
    """Until the log ends. Ctrl-C ends it at once."""
    failed: list[BaseException] = []

    async def tail() -> None:
        async for chunk in client.tail_job_logs(job_id):
            show(chunk)

    def work() -> None:
        try:
            asyncio.run(tail())
        except BaseException as error:
            failed.append(error)

    # Not in the main thread: there Ctrl-C is a cancellation, which a client that is connecting has swallowed.
    tailing = threading.Thread(target=work, name=f"log of {job_id}", daemon=True)
    tailing.start()
    while tailing.is_alive():
        tailing.join(POLL_SECONDS)
    if failed:
        raise failed[0]


def _exit_code(job: Any) -> int:
    status = str(job.status.value)
    if status == "STOPPED":
        raise RequestError(f"Job {job.submission_id} was stopped before it ended.")
    if job.driver_exit_code is not None:
        return int(job.driver_exit_code)
    if status == "SUCCEEDED":
        return 0
    raise HilumError(f"Job {job.submission_id} did not run: {job.message or status}")


@contextmanager
def _unset(name: str) -> Iterator[None]:
    """The environment without one variable, for a moment."""
    before = os.environ.pop(name, None)
    try:
        yield
    finally:
        if before is not None:
            os.environ[name] = before


def _token_headers() -> dict[str, str]:
    """The cluster's token, wherever Ray would look for it, unless it is switched off.

    Ray's own client sends it only when RAY_AUTH_MODE is 'token', which a user who was
    given nothing but a token has no reason to know.
    """
    token = "" if is_switched_off() else find_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


class _explaining:  # noqa: N801 (used as a statement)
    """Ray's and the network's errors as ours, in one sentence each."""

    def __init__(self, address: str, job_id: str = "") -> None:
        self._address = address
        self._job_id = job_id

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        from ray.exceptions import AuthenticationError

        if isinstance(error, AuthenticationError) or _status(error) in {401, 403}:
            raise RequestError(
                f"The cluster at {self._address} asks for its token. Set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH "
                "to a file that holds it."
            ) from None
        if isinstance(error, ConnectionError):
            raise RequestError(
                f"No Ray cluster answers at {self._address}. Is it running, and is that its dashboard's address?"
            ) from None
        if isinstance(error, RuntimeError) and self._job_id and "does not exist" in str(error):
            raise NotFoundError(f"The cluster at {self._address} knows no job {self._job_id}.") from None
        if isinstance(error, RuntimeError):
            raise RequestError(f"The cluster at {self._address} refused the job: {_first_line(error)}") from None


def _status(error: BaseException | None) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
