"""A RayJob watched to its end, with its log, through watches and streams that break off."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hilum.adapters.kubernetes.connection import Cluster, refusal
from hilum.adapters.kubernetes.rayjobs import RayJob, is_ended, job_and_version, name_of
from hilum.core.errors import RequestError

_WATCH_SECONDS = 60
_LOOK_SECONDS = 0.5
_LAST_LINES_SECONDS = 10.0
_EXIT_CODE = re.compile(r"failed with exit code (-?\d+)")
_STAMPED = re.compile(r"^(\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d)) ?")


@dataclass(frozen=True)
class End:
    """How a job ended: with its command's exit code, or, ``None``, lost with its head before the command ended."""

    exit_code: int | None
    reason: str = ""


def follow(cluster: Cluster, name: str, show: Callable[[str], None]) -> End:
    """Show a job's log until it ends."""
    log = _Log(cluster, name, show)
    log.start()
    try:
        for state in _states(cluster, name):
            if is_ended(state):
                log.finish(within=_LAST_LINES_SECONDS)
                return end_of(state)
    finally:
        log.finish(within=0)
    raise AssertionError("a job's states end with its end")


def end_of(job: RayJob) -> End:
    """How an ended job ended; RequestError where doing it again as it is cannot help."""
    status, name = job.get("status") or {}, name_of(job)
    reason, message = status.get("reason", ""), status.get("message", "")
    if status.get("jobStatus") == "SUCCEEDED":
        return End(0)
    if status.get("jobStatus") == "STOPPED":
        raise RequestError(f"Job {name} was stopped before it ended.")
    if reason == "DeadlineExceeded":
        raise RequestError(f"Job {name} took longer than its deadline: raise jobs.activeDeadlineSeconds of the chart.")
    if status.get("jobDeploymentStatus") == "ValidationFailed":
        raise RequestError(f"KubeRay refuses job {name}: {message}")
    code = _EXIT_CODE.search(message)
    if code:
        # Ended by a signal: as shells say it.
        number = int(code[1])
        return End(number if number >= 0 else 128 - number)
    return End(None, f"{reason or 'Failed'}: {message.splitlines()[0]}" if message else reason or "Failed")


def _states(cluster: Cluster, name: str) -> Iterator[RayJob]:
    """A job as it is, and again whenever it changes. A watch that breaks off is begun again."""
    from kubernetes import watch
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    while True:
        state, version = job_and_version(cluster, name)
        yield state
        watching = watch.Watch()
        try:
            for event in watching.stream(
                cluster.objects.list_namespaced_custom_object,
                **cluster.rayjobs,
                field_selector=f"metadata.name={name}",
                resource_version=version,
                timeout_seconds=_WATCH_SECONDS,
                _request_timeout=(10, _WATCH_SECONDS + 15),
            ):
                if event["type"] not in {"ADDED", "MODIFIED"}:
                    break
                yield event["object"]
        except ApiException as error:
            if error.status in {401, 403}:
                raise refusal(error, cluster, "watch RayJobs") from None
        except (HTTPError, ValueError):  # the line in which it broke off is no JSON
            pass
        finally:
            watching.stop()
        time.sleep(_LOOK_SECONDS)


class _Log:
    """The log of a job's submitter pods, shown by a thread of its own, each line once."""

    def __init__(self, cluster: Cluster, name: str, show: Callable[[str], None]) -> None:
        self._cluster, self._name, self._show = cluster, name, show
        self._ended = threading.Event()
        self._shown: dict[str, str] = {}
        self._thread = threading.Thread(target=self._work, name=f"log of {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self, *, within: float) -> None:
        """The job has ended: show what is still missing, and no more than so many seconds."""
        self._ended.set()
        self._thread.join(within)

    def _work(self) -> None:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        while True:
            last_time = self._ended.is_set()
            try:
                for pod in self._pods():
                    self._read(pod)
            except ApiException as error:
                if error.status in {401, 403}:
                    self._show(f"{refusal(error, self._cluster, 'read the log of pods')}\n")
                    return
            except HTTPError:
                pass  # it broke off: from the last line on, again
            if last_time:
                return
            self._ended.wait(_LOOK_SECONDS)

    def _pods(self) -> list[str]:
        found = self._cluster.core.list_namespaced_pod(
            self._cluster.namespace,
            label_selector=f"batch.kubernetes.io/job-name={self._name}",
            _request_timeout=(10, 60),
        )
        begun = [pod for pod in found.items if pod.status.phase in {"Running", "Succeeded", "Failed"}]
        return [pod.metadata.name for pod in sorted(begun, key=lambda pod: pod.metadata.creation_timestamp)]

    def _read(self, pod: str) -> None:
        stream = self._cluster.core.read_namespaced_pod_log(
            pod,
            self._cluster.namespace,
            follow=not self._ended.is_set(),
            timestamps=True,
            _preload_content=False,
            _request_timeout=(10, 3600),
        )
        rest = b""
        try:
            for part in stream.stream(amt=None):
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    self._tell(pod, line.decode(errors="replace"))
        finally:
            stream.release_conn()

    def _tell(self, pod: str, line: str) -> None:
        stamp = _STAMPED.match(line)
        if stamp is None:
            self._show(line + "\n")
        elif stamp[1] > self._shown.get(pod, ""):
            self._shown[pod] = stamp[1]
            self._show(line[stamp.end() :] + "\n")
