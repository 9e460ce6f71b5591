"""Jobs on somebody's cluster, against a dashboard that speaks Ray's REST: no cluster is started here."""

import asyncio
import json
import shlex
import threading

import pytest
from aiohttp import WSCloseCode, web
from hypothesis import given
from hypothesis import strategies as st

from hilum.adapters.ray_jobs import connect, entrypoint, follow, submit
from hilum.core.errors import HilumError, NotFoundError, RequestError

TOKEN = "0123456789abcdef"

# Ray's own client asks aiohttp for what aiohttp no longer likes.
pytestmark = pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning")


class Dashboard:
    """Ray's job server as its client knows it: one job, whose end a test decides."""

    def __init__(self):
        self.token = None
        self.version = "2.60.0"
        self.heads = []
        self.submitted = []
        self.refusal = None
        self.log = []
        self.job = {"status": "SUCCEEDED", "driver_exit_code": 0}
        self.close_code = WSCloseCode.OK
        self.address = ""

    def app(self):
        app = web.Application(middlewares=[self.guarded])
        app.router.add_get("/api/version", self.tell_version)
        app.router.add_post("/api/jobs/", self.take_job)
        app.router.add_get("/api/jobs/{job}", self.tell_job)
        app.router.add_get("/api/jobs/{job}/logs/tail", self.tell_log)
        return app

    @web.middleware
    async def guarded(self, request, handler):
        self.heads.append(request.headers.get("Authorization"))
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=403 if request.headers.get("Authorization") else 401, text="no")
        return await handler(request)

    async def tell_version(self, request):
        return web.json_response({"version": "4", "ray_version": self.version, "ray_commit": "", "session_name": ""})

    async def take_job(self, request):
        if self.refusal:
            return web.Response(status=500, text=self.refusal)
        self.submitted.append(json.loads(await request.text()))
        return web.json_response({"job_id": "raysubmit_1", "submission_id": "raysubmit_1"})

    async def tell_job(self, request):
        if request.match_info["job"] != "raysubmit_1":
            return web.Response(status=404, text=f"Job {request.match_info['job']} does not exist")
        described = {"type": "SUBMISSION", "submission_id": "raysubmit_1", "entrypoint": "x", "message": None}
        return web.json_response({**described, **self.job})

    async def tell_log(self, request):
        socket = web.WebSocketResponse(timeout=1.0)
        await socket.prepare(request)
        for chunk in self.log:
            await socket.send_str(chunk)
        await socket.close(code=self.close_code)
        return socket


@pytest.fixture
def dashboard(monkeypatch, tmp_path):
    """A dashboard on loopback, seen from a machine where no token is set."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "no-token"))
    board, loop, ready = Dashboard(), asyncio.new_event_loop(), threading.Event()

    async def start():
        runner = web.AppRunner(board.app(), shutdown_timeout=0.5)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        board.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    def serve():
        runner = loop.run_until_complete(start())
        loop.call_soon(ready.set)  # not before it runs: to stop a loop that does not is lost
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert ready.wait(30)
    yield board
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@given(st.lists(st.text(min_size=1), max_size=5))
def test_a_shell_takes_the_words_apart_as_they_were_put_together(words):
    assert shlex.split(entrypoint(words)) == ["python", "-m", "hilum", *words]


def test_words_that_a_shell_would_obey_are_only_words():
    assert entrypoint(["run", "a; rm -rf /", "$(id)", "it's"]) == (
        """python -m hilum run 'a; rm -rf /' '$(id)' 'it'"'"'s'"""
    )


@pytest.mark.parametrize("address", ["ray://host:10001", "host:8265", "auto", "", "ftp://host"])
def test_an_address_of_something_else_is_refused_with_what_one_looks_like(address):
    with pytest.raises(RequestError, match="such as http://host:8265") as refusal:
        connect(address)
    assert f"given '{address}'" in str(refusal.value)


def test_nobody_at_the_address_is_one_sentence(dashboard):
    with pytest.raises(RequestError, match="No Ray cluster answers at http://127.0.0.1:9. Is it running"):
        connect("http://127.0.0.1:9")


def test_a_cluster_too_old_for_jobs_says_so(dashboard):
    dashboard.version = "1.4.0"
    with pytest.raises(RequestError, match="Ray version 1.4.0 is running on the cluster"):
        connect(dashboard.address)


def test_a_job_is_the_words_the_settings_and_nothing_more_of_this_machine(dashboard, monkeypatch):
    monkeypatch.setenv("A_SECRET_OF_MINE", "hunter2")
    settings = {"HILUM_STORE": "/data/store"}
    job_id = submit(connect(dashboard.address), ["status", "liver one"], environment=settings, working_dir=None)
    [sent] = dashboard.submitted
    assert job_id == "raysubmit_1"
    assert sent["entrypoint"] == "python -m hilum status 'liver one'"
    assert sent["runtime_env"]["env_vars"] == settings
    assert "working_dir" not in sent["runtime_env"]
    assert "hunter2" not in json.dumps(sent)


def test_a_cluster_that_refuses_a_job_is_quoted_in_one_line(dashboard):
    dashboard.refusal = "no more jobs today\nTraceback (most recent call last):\n  somewhere"
    with pytest.raises(RequestError, match="refused the job: .*no more jobs today") as refusal:
        submit(connect(dashboard.address), ["status"], environment={}, working_dir=None)
    assert "Traceback" not in str(refusal.value)


@pytest.mark.parametrize("found", ["variable", "file"])
def test_a_token_is_found_where_ray_keeps_it_and_sent_with_every_request(dashboard, monkeypatch, tmp_path, found):
    dashboard.token = TOKEN
    if found == "variable":
        monkeypatch.setenv("RAY_AUTH_TOKEN", f" {TOKEN}\n")
    else:
        (tmp_path / "token").write_text(f"{TOKEN}\n")
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    submit(connect(dashboard.address), ["status"], environment={}, working_dir=None)
    assert set(dashboard.heads) == {f"Bearer {TOKEN}"}


def test_a_variable_counts_before_a_file(dashboard, monkeypatch, tmp_path):
    dashboard.token = TOKEN
    (tmp_path / "token").write_text("old")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    connect(dashboard.address)
    assert set(dashboard.heads) == {f"Bearer {TOKEN}"}


def test_where_tokens_are_switched_off_none_is_sent(dashboard, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "Disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    connect(dashboard.address)
    assert set(dashboard.heads) == {None}


@pytest.mark.parametrize("mine", ["", "a-wrong-one"])
def test_a_cluster_that_wants_another_token_says_where_to_put_it_and_never_repeats_mine(dashboard, monkeypatch, mine):
    dashboard.token = TOKEN
    monkeypatch.setenv("RAY_AUTH_TOKEN", mine)
    with pytest.raises(RequestError, match="asks for its token. Set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH") as refusal:
        connect(dashboard.address)
    assert TOKEN not in str(refusal.value)
    assert "a-wrong-one" not in str(refusal.value)


def followed(dashboard, job_id="raysubmit_1"):
    shown = []
    return follow(connect(dashboard.address), job_id, shown.append), shown


@pytest.mark.parametrize(("status", "code"), [("SUCCEEDED", 0), ("FAILED", 2), ("FAILED", 3), ("FAILED", 4)])
def test_following_ends_with_the_command_s_own_exit_code_and_its_whole_log(dashboard, status, code):
    dashboard.job = {"status": status, "driver_exit_code": code}
    dashboard.log = ["round 0\n", "round 1\nwait", "ing for 3 of 5\n"]
    assert followed(dashboard) == (code, dashboard.log)


def test_a_job_that_succeeded_without_a_code_of_its_own_succeeded(dashboard):
    dashboard.job = {"status": "SUCCEEDED", "driver_exit_code": None}
    assert followed(dashboard) == (0, [])


def test_a_job_that_never_began_says_why(dashboard):
    dashboard.job = {"status": "FAILED", "driver_exit_code": None, "message": "no node has 64 CPUs"}
    with pytest.raises(HilumError, match="raysubmit_1 did not run: no node has 64 CPUs") as failure:
        followed(dashboard)
    assert failure.value.exit_code == 4


def test_a_job_that_somebody_stopped_is_not_called_a_failure_of_ours(dashboard):
    dashboard.job = {"status": "STOPPED", "driver_exit_code": None}
    with pytest.raises(RequestError, match="raysubmit_1 was stopped before it ended"):
        followed(dashboard)


def test_a_job_that_nobody_knows_is_not_found(dashboard):
    with pytest.raises(NotFoundError, match="knows no job raysubmit_2"):
        followed(dashboard, "raysubmit_2")
