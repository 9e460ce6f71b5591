"""A stand-in for a Kubernetes API with KubeRay behind it: no cluster runs on these machines.

A real HTTP server on loopback that speaks the API's own paths, watches and errors, keeps RayJobs validated by KubeRay's
real schema, and plays, for each job, what a test wrote down: a list of ``Moment`` (a status, lines of log, a fault).
What it does not do is what Kubernetes and KubeRay do beyond that: no pod runs.
"""

import json
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import yaml
from tests.helm.schemas import faults

TOKEN = "a-token-of-the-tests"
NAMESPACE = "imaging"


@dataclass(frozen=True)
class Moment:
    """What happens next to a job: a status it gets, a line in its log, a fault of the connection, and then a pause."""

    status: dict = field(default_factory=dict)
    line: str = ""
    fault: str = ""
    seconds: float = 0.05


RUNNING = Moment({"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"})
DONE = Moment({"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"})


def failed(code):
    """As Ray says it of a command, and KubeRay passes it on."""
    message = (
        f"Job entrypoint command failed with exit code {code}, last available logs (truncated to 20,000 chars):\n…"
    )
    return Moment({"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed", "message": message})


def lost(reason="SubmissionFailed", message="Job has reached the specified backoff limit"):
    """As KubeRay says it of a job whose head is gone."""
    return Moment({"jobDeploymentStatus": "Failed", "jobStatus": "RUNNING", "reason": reason, "message": message})


class Api:
    """What the server keeps. ``plays`` is one list of moments per job, in the order in which jobs are made, or
    what makes them of the job."""

    def __init__(self, plays, *, template):
        self.plays, self.template = list(plays), template
        self.changed = threading.Condition()
        self.jobs, self.history, self.logs = {}, [], {}
        self.version = self.oldest = 0
        self.asked = []
        self.refuses = {}
        self.streams = []

    def put(self, job, kind):
        with self.changed:
            self.version += 1
            job["metadata"]["resourceVersion"] = str(self.version)
            self.history.append((self.version, kind, json.dumps(job)))
            if kind == "DELETED":
                self.jobs.pop(job["metadata"]["name"])
            else:
                self.jobs[job["metadata"]["name"]] = job
            self.changed.notify_all()

    def create(self, job):
        job = {**job, "metadata": {**job["metadata"], "namespace": NAMESPACE, "uid": f"uid-{self.version}"}}
        self.logs[job["metadata"]["name"]] = []
        self.put(job, "ADDED")
        moments = self.plays.pop(0) if self.plays else [RUNNING]
        threading.Thread(target=self._play, args=(job, moments), daemon=True).start()
        return job

    def _play(self, job, moments):
        name = job["metadata"]["name"]
        for moment in moments(job) if callable(moments) else moments:
            if moment.line:
                with self.changed:
                    stamp = f"2026-01-01T00:00:00.{len(self.logs[name]):09d}Z"
                    self.logs[name].append(f"{stamp} {moment.line}\n")
                    self.changed.notify_all()
            if moment.status:
                job = {**job, "metadata": dict(job["metadata"]), "status": {**job.get("status", {}), **moment.status}}
                wrong = faults(job)
                assert not wrong, wrong
                self.put(job, "MODIFIED")
            if moment.fault == "drop":
                self.drop()
            if moment.fault == "restart":
                self.restart()
            if moment.fault == "delete":
                self.put(job, "DELETED")
                return
            time.sleep(moment.seconds)

    def drop(self):
        """Break off all streams in the middle of a line."""
        with self.changed:
            streams, self.streams = self.streams, []
        for stream in streams:
            with suppress(OSError):
                stream.sendall(b'5\r\n{"typ')
                stream.shutdown(2)

    def restart(self):
        """What changed before is known no more, as after a start of an API server while others write to its store."""
        with self.changed:
            self.version += 1
            self.oldest = self.version
        self.drop()

    def ended(self, name):
        return self.jobs.get(name, {}).get("status", {}).get("jobDeploymentStatus") in {
            "Complete",
            "Failed",
            "ValidationFailed",
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: Api

    def do_GET(self):
        self._answer("get")

    def do_POST(self):
        self._answer("create")

    def do_DELETE(self):
        self._answer("delete")

    def log_message(self, *_):
        pass

    def _answer(self, verb):
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        verb = "watch" if query.get("watch") in {"true", "True"} else verb
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.api.changed:
            self.api.asked.append((verb, url.path, body.decode()))
        scheme, _, token = (self.headers.get("Authorization") or "").partition(" ")
        if (scheme.lower(), token) != ("bearer", TOKEN):
            return self._fail(401, "Unauthorized")
        what = "log" if url.path.endswith("/log") else url.path.split("/")[-2 if verb == "get" else -1]
        refusals = self.api.refuses.get((verb, what)) or self.api.refuses.get((verb, url.path.split("/")[-1]))
        if refusals:
            return self._fail(*refusals.pop(0))
        return self._routed(verb, url.path.strip("/").split("/"), query, body)

    def _routed(self, verb, path, query, body):
        match path:
            case ["api", "v1", "namespaces", space, "configmaps", name]:
                if (space, name) != (NAMESPACE, "hilum-rayjob-template"):
                    return self._fail(404, f'configmaps "{name}" not found')
                data = {"rayjob.yaml": yaml.safe_dump(self.api.template)}
                return self._send({"kind": "ConfigMap", "metadata": {"name": name}, "data": data})
            case ["api", "v1", "namespaces", _, "pods"]:
                return self._send({"kind": "PodList", "items": self._pods(query["labelSelector"])})
            case ["api", "v1", "namespaces", _, "pods", pod, "log"]:
                return self._log(pod.removesuffix("-pod"), follow=query.get("follow") in {"true", "True"})
            case ["apis", "ray.io", "v1", "namespaces", space, "rayjobs", *rest]:
                if space != NAMESPACE:
                    return self._fail(403, f'User "somebody" cannot {verb} resource "rayjobs" in namespace "{space}"')
                return self._rayjobs(verb, rest, query, body)
        return self._fail(404, "the server could not find the requested resource")

    def _rayjobs(self, verb, rest, query, body):
        jobs = self.api.jobs
        if verb == "watch":
            return self._watch(query)
        if verb == "create":
            return self._create(json.loads(body))
        if not rest:
            return self._list(query)
        if rest[0] not in jobs:
            return self._fail(404, f'rayjobs.ray.io "{rest[0]}" not found')
        if verb == "delete":
            self.api.put(jobs[rest[0]], "DELETED")
            return self._send({"kind": "Status", "status": "Success"})
        return self._send(jobs[rest[0]])

    def _list(self, query):
        key, _, value = query.get("labelSelector", "").partition("=")
        name = query.get("fieldSelector", "").removeprefix("metadata.name=")
        with self.api.changed:
            found = [
                job
                for job in self.api.jobs.values()
                if (not key or job["metadata"]["labels"].get(key) == value)
                and (not name or job["metadata"]["name"] == name)
            ]
            version = str(self.api.version)
        return self._send({"kind": "RayJobList", "metadata": {"resourceVersion": version}, "items": found})

    def _create(self, job):
        wrong = faults(job)
        name = job["metadata"]["name"]
        if wrong:
            return self._fail(422, f'RayJob.ray.io "{name}" is invalid: {wrong[0]}')
        with self.api.changed:
            if name in self.api.jobs:
                return self._fail(409, f'rayjobs.ray.io "{name}" already exists')
            return self._send(self.api.create(job), 201)

    def _pods(self, selector):
        name = selector.partition("=")[2]
        if name not in self.api.logs:
            return []
        metadata = {"name": f"{name}-pod", "creationTimestamp": "2026-01-01T00:00:00Z"}
        return [{"kind": "Pod", "metadata": metadata, "status": {"phase": "Running"}, "spec": {"containers": []}}]

    def _watch(self, query):
        name = query["fieldSelector"].partition("=")[2]
        seen = int(query["resourceVersion"])
        until = time.monotonic() + int(query["timeoutSeconds"])
        self._begin_stream("application/json")
        if seen < self.api.oldest:
            gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": f"too old resource version: {seen}"}
            self._chunk(json.dumps({"type": "ERROR", "object": gone}) + "\n")
            return self._end_stream()
        while time.monotonic() < until:
            with self.api.changed:
                new = [
                    one for one in self.api.history if one[0] > seen and json.loads(one[2])["metadata"]["name"] == name
                ]
                if not new:
                    self.api.changed.wait(0.2)
            for version, kind, text in new:
                seen = version
                self._chunk(json.dumps({"type": kind, "object": json.loads(text)}) + "\n")
        return self._end_stream()

    def _log(self, name, *, follow):
        self._begin_stream("text/plain")
        shown = 0
        while True:
            with self.api.changed:
                lines, over = self.api.logs[name][shown:], not follow or self.api.ended(name)
                if not lines and not over:
                    self.api.changed.wait(0.2)
            for line in lines:
                self._chunk(line)
            shown += len(lines)
            if over and not lines:
                break
        self._end_stream()

    def _begin_stream(self, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with self.api.changed:
            self.api.streams.append(self.connection)

    def _chunk(self, text):
        data = text.encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _end_stream(self):
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, document, status=200):
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _fail(self, status, message):
        self._send({"kind": "Status", "status": "Failure", "message": message, "code": status}, status)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # who asked has gone


@contextmanager
def serving(api, *, tls=None):
    """The address of a server for this API, as long as the context lasts; ``tls`` is a server's SSLContext."""
    handler = type("Handler", (_Handler,), {"api": api})
    server = _Server(("127.0.0.1", 0), handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def kubeconfig(folder, address, *, token=TOKEN, namespace=NAMESPACE):
    """A kubeconfig file for that address."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "tests",
        "clusters": [{"name": "tests", "cluster": {"server": address}}],
        "users": [{"name": "somebody", "user": {"token": token}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "somebody", "namespace": namespace}}],
    }
    path = Path(folder) / "kubeconfig"
    path.write_text(yaml.safe_dump(content))
    return path
