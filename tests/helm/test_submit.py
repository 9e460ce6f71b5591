"""`hilum submit --to k8s` against the stand-in of `api_server`: real HTTP and real schemas, no real cluster."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from kubernetes.config import incluster_config
from tests.helm import engine
from tests.helm.api_server import DONE, NAMESPACE, RUNNING, TOKEN, Api, Moment, failed, kubeconfig, lost, serving
from tests.helm.schemas import faults
from typer.main import get_command

from hilum.adapters.kubernetes import connection, rayjobs
from hilum.cli.main import app, main

WORDS = ("campaign", "run", "liver")
LOST_WAYS = [
    lost(),
    lost("JobDeploymentStatusTransitionGracePeriodExceeded", "The RayJob submitter finished but the ray job did not"),
    lost("JobStatusCheckTimeoutExceeded", "the head does not answer"),
    lost("AppFailed", "Unexpected error occurred: The actor died because its node has died."),
]


@pytest.fixture(scope="module")
def template():
    """The RayJob that the chart itself keeps for `hilum submit`."""
    (kept,) = [
        one
        for one in engine.objects(engine.CHART / "ci" / "jobs-values.yaml")
        if one["kind"] == "ConfigMap" and one["metadata"]["name"] == "hilum-rayjob-template"
    ]
    return yaml.safe_load(kept["data"]["rayjob.yaml"])


@pytest.fixture
def cluster(tmp_path, monkeypatch, template):
    """Begins a stand-in that plays these moments, one list a job."""
    monkeypatch.setenv("HILUM_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("HILUM_ACTOR", "a-radiologist@example.org")
    for name in ("HILUM_STORE", "HILUM_DATA_MIRROR", "HILUM_DEBUG", "RAY_DASHBOARD_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    opened = []

    def begin(*plays):
        api = Api(plays, template=template)
        context = serving(api)
        address = context.__enter__()
        opened.append(context)
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, address)))
        return api

    yield begin
    for context in opened:
        context.__exit__(None, None, None)


def _submit(*words):
    return main(["submit", "--to", "k8s", *words])


def _created(api):
    return [json.loads(body) for verb, path, body in api.asked if verb == "create"]


def _line(text):
    return Moment(line=text)


def test_a_command_runs_as_a_rayjob_of_the_charts_template_and_its_log_and_exit_code_come_back(cluster, capsys):
    api = cluster([RUNNING, _line("round 1 evaluated"), _line("campaign liver: finished"), DONE])
    assert _submit("--store", "s3://bucket/liver", *WORDS) == 0
    (made,) = _created(api)
    assert made["spec"]["entrypoint"] == "python -m hilum campaign run liver"
    sent = {"HILUM_ACTOR": "a-radiologist@example.org", "HILUM_STORE": "s3://bucket/liver"}
    assert yaml.safe_load(made["spec"]["runtimeEnvYAML"]) == {"env_vars": sent}
    assert re.fullmatch(r"hilum-campaign-[0-9a-f]{12}-1", made["metadata"]["name"])
    assert made["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "hilum"
    assert api.template["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
    assert faults(made) == []
    said = capsys.readouterr()
    assert said.err.index("round 1 evaluated") < said.err.index("campaign liver: finished")
    assert f"job {made['metadata']['name']}: done" in said.out


@pytest.mark.parametrize("code", [2, 3, 4, 5])
def test_the_commands_own_exit_code_is_submits_and_nothing_is_tried_again(cluster, code):
    api = cluster([RUNNING, failed(code)])
    assert _submit(*WORDS) == code
    assert len(_created(api)) == 1


def test_a_command_that_a_signal_ended_has_the_shells_exit_code(cluster):
    cluster([RUNNING, failed(-9)])
    assert _submit(*WORDS) == 137


def test_what_runs_already_is_found_and_not_begun_twice(cluster, capsys):
    api = cluster([RUNNING, Moment(seconds=1.5), _line("the end"), DONE])
    codes = []
    first = threading.Thread(target=lambda: codes.append(_submit(*WORDS)))
    first.start()
    while not api.jobs:
        time.sleep(0.02)
    codes.append(_submit(*WORDS))
    first.join(30)
    assert codes == [0, 0]
    assert len(_created(api)) == 1
    assert "it runs already" in capsys.readouterr().err


def test_of_two_who_submit_at_once_one_begins_it_and_both_follow_it(cluster):
    """The list says that there is none, and creating it answers 409: somebody was quicker by a moment."""
    api = cluster([RUNNING, Moment(seconds=0.5), DONE])
    assert _submit("--no-follow", *WORDS) == 0
    (name,) = api.jobs
    api.jobs[name]["metadata"]["labels"].pop("hilum/run")  # the list does not show it
    assert _submit(*WORDS) == 0
    assert len(_created(api)) == 2
    assert set(api.jobs) == {name}


def test_what_somebody_else_began_is_found_too(cluster, monkeypatch):
    api = cluster([RUNNING, Moment(seconds=0.5), DONE])
    assert _submit("--no-follow", *WORDS) == 0
    monkeypatch.setenv("HILUM_ACTOR", "another@example.org")
    assert _submit(*WORDS) == 0
    assert len(_created(api)) == 1


def test_other_words_or_another_store_are_another_job(cluster):
    api = cluster([RUNNING, DONE], [RUNNING, DONE], [RUNNING, DONE])
    for words in (WORDS, (*WORDS[:2], "brain"), ("--store", "s3://bucket/other", *WORDS)):
        assert _submit(*words) == 0
    assert len({job["metadata"]["name"] for job in _created(api)}) == 3


def test_what_has_ended_is_begun_again_and_old_attempts_go(cluster):
    api = cluster(*[[RUNNING, DONE]] * 5)
    for _ in range(5):
        assert _submit(*WORDS) == 0
    assert [job["metadata"]["name"].rsplit("-", 1)[1] for job in _created(api)] == ["1", "2", "3", "4", "5"]
    assert sorted(name.rsplit("-", 1)[1] for name in api.jobs) == ["3", "4", "5"]


@pytest.mark.parametrize("way", LOST_WAYS, ids=lambda way: way.status["reason"])
def test_a_job_lost_with_its_head_goes_on_with_the_same_words(cluster, capsys, way):
    api = cluster([RUNNING, _line("step 1"), way], [RUNNING, _line("step 1: already done"), _line("step 2"), DONE])
    assert _submit("--json", "--store", "s3://bucket/liver", *WORDS) == 0
    first, second = _created(api)
    assert first["spec"] == second["spec"]
    assert second["metadata"]["name"] == first["metadata"]["name"][:-1] + "2"
    said = capsys.readouterr()
    assert "was lost" in said.err
    assert "step 2" in said.err
    answer = json.loads(said.out)
    assert (answer["exit_code"], answer["attempts"]) == (0, 2)


def test_a_job_that_is_lost_every_time_is_given_up_after_so_many_attempts(cluster, capsys):
    api = cluster(*[[RUNNING, lost()]] * 4)
    assert _submit("--attempts", "2", *WORDS) == 4
    assert len(_created(api)) == 2
    assert "2 times" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ({"jobDeploymentStatus": "Failed", "reason": "DeadlineExceeded", "message": "…"}, "activeDeadlineSeconds"),
        (
            {"jobDeploymentStatus": "ValidationFailed", "reason": "ValidationFailed", "message": "no such thing"},
            "no such",
        ),
        ({"jobDeploymentStatus": "Failed", "jobStatus": "STOPPED"}, "was stopped"),
    ],
)
def test_what_trying_again_cannot_help_is_told_and_not_tried_again(cluster, capsys, status, told):
    api = cluster([RUNNING, Moment(status)])
    assert _submit(*WORDS) == 2
    assert len(_created(api)) == 1
    assert told in capsys.readouterr().err


def test_a_watch_and_a_log_that_break_off_are_taken_up_again_and_no_line_is_shown_twice(cluster, capsys):
    lines = [f"line {number} of the log" for number in range(12)]
    moments = [RUNNING]
    for number, line in enumerate(lines):
        moments += [_line(line)] + ([Moment(fault="drop", seconds=0.3)] if number % 4 == 3 else [])
    api = cluster([*moments, DONE])
    assert _submit(*WORDS) == 0
    shown = re.findall(r"line \d+ of the log", capsys.readouterr().err)
    assert shown == lines
    assert len([1 for verb, *_ in api.asked if verb == "watch"]) > 1


def test_an_api_server_that_was_started_anew_is_watched_on_and_not_asked_over_and_over(cluster):
    """It knows nothing that changed before, and refuses a watch from there."""
    api = cluster([RUNNING, Moment(fault="restart", seconds=4), DONE])
    assert _submit(*WORDS) == 0
    assert len([1 for verb, *_ in api.asked if verb == "watch"]) <= 3


def test_a_busy_api_is_asked_again(cluster):
    api = cluster([RUNNING, DONE])
    api.refuses = {("create", "rayjobs"): [(503, "etcd leader changed"), (429, "too many requests")]}
    assert _submit(*WORDS) == 0
    assert len(_created(api)) == 3
    assert len(api.jobs) == 1


def test_a_job_that_somebody_deletes_is_told(cluster, capsys):
    cluster([RUNNING, Moment(fault="delete")])
    assert _submit(*WORDS) == 2
    assert "was deleted" in capsys.readouterr().err


def test_without_leave_to_read_logs_the_end_is_still_told(cluster, capsys):
    api = cluster([RUNNING, _line("unseen"), Moment(seconds=0.5), DONE])
    api.refuses = {("get", "log"): [(403, "cannot get pods/log")] * 50}
    assert _submit(*WORDS) == 0
    said = capsys.readouterr().err
    assert "read the log" in said
    assert "unseen" not in said


def test_a_job_that_is_not_followed_can_be_followed_later(cluster, capsys):
    cluster([RUNNING, Moment(seconds=0.5), _line("later"), failed(3)])
    assert _submit("--no-follow", "--json", *WORDS) == 0
    (again,) = json.loads(capsys.readouterr().out)["next"]
    assert again.startswith("hilum submit --to k8s --job hilum-campaign-")
    assert main(again.split()[1:]) == 3
    assert "later" in capsys.readouterr().err


def test_words_arrive_as_they_were_given(cluster):
    api = cluster([RUNNING, DONE])
    words = ["ingest", "scans/**/*.dcm", "--note", "two words", "$(RAY_AUTH_TOKEN)", "it's"]
    assert _submit("--", *words) == 0
    (made,) = _created(api)
    entrypoint = made["spec"]["entrypoint"].replace("$$(", "$(")  # as Kubernetes does in a container's command
    assert "$$(RAY_AUTH_TOKEN)" in made["spec"]["entrypoint"]
    told = subprocess.run(
        ["bash", "-c", f'printf "%s\\n" {entrypoint}'], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert told == ["python", "-m", "hilum", *words]


def test_no_secret_of_the_sender_is_in_the_job(cluster, monkeypatch):
    for name in (
        "HILUM_DATA_MIRROR",
        "HILUM_LEDGER_URL",
        "HILUM_IDENTITY_KEY",
        "HILUM_LABEL_STUDIO_TOKEN",
        "RAY_AUTH_TOKEN",
    ):
        monkeypatch.setenv(name, "canary-" + "0" * 57)
    api = cluster([RUNNING, DONE])
    assert _submit(*WORDS) == 0
    assert "canary" not in json.dumps(_created(api))


def test_a_token_that_is_not_known_is_told(cluster, tmp_path, capsys, monkeypatch):
    cluster([])
    config = yaml.safe_load((tmp_path / "kubeconfig").read_text())
    config["users"][0]["user"]["token"] = "f" * 32
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    assert _submit(*WORDS) == 2
    said = capsys.readouterr().err
    assert "does not know you" in said
    assert "f" * 32 not in said
    assert TOKEN not in said


def test_what_one_may_not_do_is_told(cluster, capsys):
    cluster([])
    assert _submit("--namespace", "others", *WORDS) == 2
    said = capsys.readouterr().err
    assert "You may not list RayJobs in namespace others" in said
    assert "Traceback" not in said


def test_where_nothing_listens_one_is_told_within_seconds(tmp_path, monkeypatch, capsys):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, f"http://127.0.0.1:{port}")))
    began = time.monotonic()
    assert _submit(*WORDS) == 2
    assert time.monotonic() - began < 30
    assert f"http://127.0.0.1:{port} cannot be asked" in capsys.readouterr().err


def test_an_api_that_goes_away_for_good_is_told_and_the_job_is_not_said_to_have_ended(cluster, tmp_path, template):
    """In a process of its own: the server's end is this test's."""
    api = Api([[RUNNING, Moment(seconds=200)]], template=template)
    with serving(api) as address:
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig(tmp_path, address)), "COLUMNS": "300"}
        program = (
            "import hilum.adapters.kubernetes.connection as c; c.PATIENCE_SECONDS = 2.0\n"
            "c.connect.__kwdefaults__['patience_seconds'] = 2.0\n"
            "from hilum.cli.main import entry; entry()"
        )
        following = subprocess.Popen(
            [sys.executable, "-c", program, "submit", "--to", "k8s", *WORDS],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        while not [1 for verb, *_ in api.asked if verb == "watch"]:
            assert following.poll() is None, following.stderr.read()
            time.sleep(0.05)
        api.drop()
    out, told = following.communicate(timeout=120)
    assert following.returncode == 2, told
    assert "cannot be asked" in told
    assert "done" not in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--address", "http://127.0.0.1:8265", *WORDS], "--address means nothing with --to k8s"),
        (["--working-dir", ".", *WORDS], "recipes"),
        (["campain", "run", "liver"], "Did you mean 'campaign'"),
        (["--template", "none-such", *WORDS], "has no ConfigMap none-such"),
        (["--job", "hilum-campaign-000000000000-1"], "has no RayJob"),
        (["--store", "./liver", *WORDS], "is a folder of this machine"),
        (["--context", "none-such", *WORDS], "No Kubernetes cluster is configured"),
        ([], "Say which command"),
    ],
)
def test_what_cannot_be_meant_is_told_in_one_sentence(cluster, capsys, words, told):
    api = cluster([])
    assert _submit(*words) == 2
    said = capsys.readouterr().err
    assert told in said
    assert "Traceback" not in said
    assert _created(api) == []


def test_options_of_kubernetes_are_refused_for_ray(capsys):
    assert main(["submit", "--namespace", NAMESPACE, *WORDS]) == 2
    assert "--namespace means nothing with --to ray" in capsys.readouterr().err


def test_a_cluster_without_kuberay_is_told(cluster, capsys):
    api = cluster([])
    api.refuses = {("get", "rayjobs"): [(404, "the server could not find the requested resource")]}
    assert _submit(*WORDS) == 2
    assert "knows no RayJobs" in capsys.readouterr().err


def test_a_template_that_kuberay_would_refuse_is_refused_in_its_words(cluster, capsys, template):
    api = cluster([])
    api.template = {**template, "spec": {**template["spec"], "backofLimit": 1}}
    assert _submit(*WORDS) == 2
    assert "backofLimit" in capsys.readouterr().err


def test_ctrl_c_leaves_the_job_running_and_says_how_to_follow_again(tmp_path, template):
    api = Api([[RUNNING, Moment(line="it works"), Moment(seconds=200)]], template=template)
    with serving(api) as address:
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig(tmp_path, address)), "COLUMNS": "300"}
        words = [sys.executable, "-m", "hilum", "submit", "--to", "k8s", *WORDS]
        following = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        shown = ""
        while "it works" not in shown:
            assert following.stderr is not None
            shown += following.stderr.readline()
            assert following.poll() is None, shown
        following.send_signal(signal.SIGINT)
        out, told = following.communicate(timeout=200)
        (name,) = api.jobs
        assert following.returncode == 130
        assert f"hilum submit --to k8s --job {name} --namespace {NAMESPACE}" in out
        assert "the same command goes on" not in told
        assert not api.ended(name)


@pytest.fixture
def certificate(tmp_path):
    """A certificate for 127.0.0.1 that nobody else trusts, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, private = tmp_path / "ca.crt", tmp_path / "tls.key"
    pem.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    return pem, context


def test_in_a_pod_its_service_account_is_used_and_its_own_namespace(tmp_path, monkeypatch, template, certificate):
    """As the schedules of the chart do. The account's files lie elsewhere here than in a pod; all else is as there."""
    pem, context = certificate
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "namespace").write_text(NAMESPACE)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(pem))
    monkeypatch.setattr(connection, "_OWN_NAMESPACE", tmp_path / "namespace")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("HILUM_STORE", raising=False)
    api = Api([[RUNNING, DONE]], template=template)
    with serving(api, tls=context) as address:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", address.rpartition(":")[2])
        assert _submit(*WORDS) == 0
    assert len(_created(api)) == 1


def test_a_certificate_that_is_not_trusted_is_told(tmp_path, monkeypatch, template, certificate, capsys):
    api = Api([], template=template)
    with serving(api, tls=certificate[1]) as address:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, address)))
        assert _submit(*WORDS) == 2
    assert "its certificate is not trusted" in capsys.readouterr().err
    assert api.asked == []


def test_without_any_cluster_one_is_told_how_to_name_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert _submit(*WORDS) == 2
    assert "Set KUBECONFIG" in capsys.readouterr().err


def test_names_of_jobs_of_every_command_are_short_enough_for_kuberay():
    for verb in get_command(app).commands:
        name = rayjobs.command_of([verb], {}).job_name(999)
        assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name)
        assert len(name) <= 47
