"""What the chart renders, for every values file: Helm takes it, Kubernetes and KubeRay would take it."""

import os
import subprocess
import sys

import pytest
import yaml
from tests.helm import engine, render
from tests.helm.schemas import faults
from typer.main import get_command

from hilum.cli.main import app
from hilum.cli.serve import SHORT_WAYS
from hilum.cli.settings import PREFIX, Settings
from hilum.nn.kept_memory import ENVIRONMENT

FEATURES = engine.ci_values()
EXTERNAL = {  # made by whoever installs: named in the values, never by the chart
    "Secret",
    "PersistentVolumeClaim",
}
ids = [path.name.removesuffix("-values.yaml") for path in FEATURES]
every_feature = pytest.mark.parametrize("values", FEATURES, ids=ids)


def _walk(value, path=()):
    yield path, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from _walk(one, (*path, key))


def _with_jobs(documents):
    """The objects, and the RayJob that the template makes."""
    kept = [one["data"]["rayjob.yaml"] for one in documents if "rayjob.yaml" in one.get("data", {})]
    return [*documents, *(yaml.safe_load(text) for text in kept)]


def _pods(documents):
    """(component, pod specification, pod labels) of everything that makes pods."""
    for document in _with_jobs(documents):
        for path, value in _walk(document):
            if isinstance(value, dict) and isinstance(value.get("containers"), list):
                owner = document if path == ("spec",) else _at(document, path[:-1])
                labels = owner["metadata"]["labels"]
                yield labels["app.kubernetes.io/component"], value, labels


def _at(document, path):
    for key in path:
        document = document[key]
    return document


@pytest.fixture(scope="module")
def rendered():
    return {values: engine.objects(values) for values in FEATURES}


@every_feature
def test_helm_lints_it_without_a_warning(values):
    said = engine.helm("lint", engine.CHART, "--strict", "--values", values, "--namespace", engine.NAMESPACE)
    assert "1 chart(s) linted, 0 chart(s) failed" in said.stdout
    assert "[WARNING]" not in said.stdout


@every_feature
def test_rendering_twice_gives_the_same(values):
    assert engine.render(values) == engine.render(values)


@every_feature
def test_every_object_keeps_to_its_schema_and_no_field_is_unknown(values, rendered):
    documents = _with_jobs(rendered[values])
    wrong = {f"{one['kind']}/{one['metadata']['name']}": faults(one) for one in documents}
    assert {name: found for name, found in wrong.items() if found} == {}
    assert len(documents) > 5


def test_the_schemas_find_what_is_wrong(rendered):
    documents = _with_jobs(rendered[engine.CHART / "ci" / "monitoring-values.yaml"])
    for kind in ("RayCluster", "RayJob", "Deployment", "Service", "NetworkPolicy", "ServiceMonitor", "PodMonitor"):
        found = [one for one in documents if one["kind"] == kind]
        assert found, kind
        assert faults({**found[0], "spec": {**found[0]["spec"], "specc": 1}}), kind


@every_feature
def test_names_are_short_enough_also_for_what_kuberay_makes_of_them(values, rendered):
    longest = {"RayCluster": 50, "RayJob": 47, "RayService": 47, "CronJob": 52}
    for document in engine.parsed(engine.render(values, release="a-release-with-quite-a-long-name", namespace="x")):
        name, kind = document["metadata"]["name"], document["kind"]
        assert len(name) <= longest.get(kind, 63), (kind, name)
    seen = [(one["kind"], one["metadata"]["name"]) for one in rendered[values]]
    assert len(seen) == len(set(seen))


@every_feature
def test_every_pod_passes_the_restricted_standard_and_writes_only_where_it_is_given_room(values, rendered):
    for component, pod, _ in _pods(rendered[values]):
        assert pod["automountServiceAccountToken"] is (component in _with_tokens(pod)), component
        assert pod["enableServiceLinks"] is False, component
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert set(container["resources"]) == {"requests", "limits"}
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])
            assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}
            assert ":" in container["image"]
            assert not container["image"].endswith(":latest")
        assert not [volume for volume in pod["volumes"] if "hostPath" in volume]


def _with_tokens(pod):
    """Components whose pod may ask the Kubernetes API: a head with an autoscaler, and schedules."""
    if pod["serviceAccountName"].endswith("-head"):
        autoscaled = pod.get("restartPolicy") == "Never"
        return {"cluster", "job", "inference"} if autoscaled else set()
    return {"rounds"}


@every_feature
def test_every_ray_cluster_asks_for_its_token(values, rendered):
    found = [value for one in _with_jobs(rendered[values]) for _, value in _walk(one) if _is_cluster(value)]
    assert found
    for cluster in found:
        assert cluster["authOptions"] == {"mode": "token", "secretName": "hilum-ray-token"}
        assert cluster["headGroupSpec"].get("serviceType") in {None, "ClusterIP"}
        assert "enableIngress" not in cluster["headGroupSpec"]
        assert [group["maxReplicas"] >= group["minReplicas"] for group in cluster["workerGroupSpecs"]]


def _is_cluster(value):
    return isinstance(value, dict) and "headGroupSpec" in value


@every_feature
def test_no_secret_is_in_what_is_rendered(values, rendered):
    for document in rendered[values]:
        assert document["kind"] != "Secret"
        for path, value in _walk(document):
            if isinstance(value, dict) and "name" in value and "value" in value and isinstance(value["value"], str):
                name = value["name"]
                secret = any(word in name for word in ("PASSWORD", "TOKEN", "SECRET", "_KEY", "LEDGER_URL"))
                fine = name.endswith("_FILE") or name in {"HILUM_LEDGER_URL", "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN"}
                assert not secret or fine, (path, name)
                assert "@" not in value["value"] or "hilum@" in value["value"], path


@every_feature
def test_selectors_find_pods_and_services_find_their_ports(values, rendered):
    documents = rendered[values]
    pods = list(_pods(documents))
    for document in documents:
        if document["kind"] in {"Deployment", "StatefulSet"}:
            wanted = document["spec"]["selector"]["matchLabels"]
            assert wanted.items() <= document["spec"]["template"]["metadata"]["labels"].items()
        if document["kind"] == "Service":
            found = [pod for _, pod, labels in pods if document["spec"]["selector"].items() <= labels.items()]
            assert len(found) == 1, document["metadata"]["name"]
            named = {port["name"] for container in found[0]["containers"] for port in container["ports"]}
            assert {port["targetPort"] for port in document["spec"]["ports"]} <= named
        if document["kind"] in {"ServiceMonitor", "PodMonitor"}:
            _check_monitor(document, documents, pods)
        if document["kind"] == "PodDisruptionBudget":
            wanted = dict(document["spec"]["selector"]["matchLabels"])
            wanted.pop("ray.io/node-type", None)  # KubeRay's own label
            assert any(wanted.items() <= labels.items() for *_, labels in pods)
        if document["kind"] == "HorizontalPodAutoscaler":
            target = document["spec"]["scaleTargetRef"]
            names = [one for one in documents if one["kind"] == target["kind"]]
            (one,) = [one for one in names if one["metadata"]["name"] == target["name"]]
            assert "replicas" not in one["spec"]


def _check_monitor(monitor, documents, pods):
    spec = monitor["spec"]
    if monitor["kind"] == "ServiceMonitor":
        wanted = spec["selector"]["matchLabels"]
        found = [one for one in documents if one["kind"] == "Service"]
        (service,) = [one for one in found if wanted.items() <= one["metadata"]["labels"].items()]
        assert {one["port"] for one in spec["endpoints"]} <= {port["name"] for port in service["spec"]["ports"]}
        return
    (expression,) = spec["selector"]["matchExpressions"]
    ray = [pod for component, pod, _ in pods if component in expression["values"]]
    assert ray
    for pod in ray:
        assert "metrics" in {port["name"] for container in pod["containers"] for port in container["ports"]}


@every_feature
def test_whatever_is_named_is_there_or_is_the_installers_own(values, rendered):
    documents = _with_jobs(rendered[values])
    there = {(one["kind"], one["metadata"]["name"]) for one in documents}
    given = yaml.safe_dump(yaml.safe_load(values.read_text()))
    for kind, name in _named(documents):
        if kind in EXTERNAL:
            assert name in given, (kind, name)
            assert (kind, name) not in there
        else:
            assert (kind, name) in there, (kind, name)


def _named(documents):
    for document in documents:
        for path, value in _walk(document):
            match path[-1] if path else "", value:
                case (("secretKeyRef" | "secretRef"), {"name": name}):
                    yield "Secret", name
                case "credentials", {"name": name}:
                    yield "Secret", name
                case (("secretName" | "tlsSecret"), str(name)):
                    yield "Secret", name
                case "configMap", {"name": name}:
                    yield "ConfigMap", name
                case "claimName", str(name):
                    yield "PersistentVolumeClaim", name
                case "serviceAccountName", str(name):
                    yield "ServiceAccount", name
                case "roleRef", {"kind": kind, "name": name}:
                    yield kind, name
                case "serviceName", str(name):
                    yield "Service", name
        if document["kind"] == "Ingress":
            for rule in document["spec"]["rules"]:
                for one in rule["http"]["paths"]:
                    name = one["backend"]["service"]["name"]
                    # KubeRay makes this one, by the name that the RayService gives it.
                    if not name.endswith("-inference-serve"):
                        yield "Service", name
        if document["kind"] == "CronJob":
            (container,) = document["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
            yield "ConfigMap", container["args"][container["args"].index("--template") + 1]


def test_what_ingress_calls_is_what_the_rayservice_names(rendered):
    documents = rendered[engine.CHART / "ci" / "ingress-values.yaml"]
    (service,) = [one for one in documents if one["kind"] == "RayService"]
    (ingress,) = [one for one in documents if one["kind"] == "Ingress"]
    backends = [rule["http"]["paths"][0]["backend"]["service"] for rule in ingress["spec"]["rules"]]
    asked = service["spec"]["serveService"]
    assert {"name": asked["metadata"]["name"], "port": {"name": "serve"}} in backends
    assert [port["name"] for port in asked["spec"]["ports"]] == ["serve"]
    assert set(ingress["spec"]["tls"][0]["hosts"]) == {rule["host"] for rule in ingress["spec"]["rules"]}


@pytest.mark.parametrize(
    ("chosen", "options"),
    [
        ({}, ""),
        (
            {"replicas": 2, "mostReplicas": 8, "cpus": 4, "gpus": 0.5, "batchSize": 16, "shallowerAbove": 9},
            "--replicas 2 --most-replicas 8 --cpus 4 --gpus 0.5 --batch-size 16 --shallower-above 9",
        ),
        ({"replicas": 3, "mostReplicas": 3, "cpus": 0.5}, "--replicas 3 --most-replicas 3 --cpus 0.5"),
        ({"cpus": 2.5, "gpus": 1, "keepUnsure": 0}, "--cpus 2.5 --gpus 1 --keep-unsure 0"),
    ],
)
def test_inference_is_what_hilum_serve_config_prints(tmp_path, chosen, options):
    said = {"HILUM_LOG": "json"} if chosen else {}
    issuer = {"issuer": "https://login.example.org", "audience": "hilum"} if chosen else {}
    told = {f"HILUM_OIDC_{name.upper()}": value for name, value in issuer.items()}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HILUM_", "OTEL_"))}
    environment |= {"HILUM_STATE": str(tmp_path), "HILUM_API_KEYS_FILE": "/etc/hilum/keys/keys.json", **said, **told}
    words = ["serve", "config", "--store", "s3://bucket/liver", *options.split()]
    printed = subprocess.run(
        [sys.executable, "-m", "hilum", *words], env=environment, capture_output=True, text=True, check=True
    ).stdout
    wanted = yaml.safe_load(printed)
    inference = {"enabled": True, "apiKeysSecret": "hilum-api-keys", "oidc": issuer, **chosen}
    documents = engine.objects(engine.CHART / "ci" / "jobs-values.yaml", inference=inference, env=said)
    (service,) = [one for one in documents if one["kind"] == "RayService"]
    assert yaml.safe_load(service["spec"]["serveConfigV2"]) == wanted


def test_ray_keeps_freed_memory_as_hilum_does(rendered):
    for _, pod, _ in _pods(rendered[engine.CHART / "ci" / "inference-values.yaml"]):
        for container in pod["containers"]:
            if container["name"] in ("ray-head", "ray-worker"):
                assert {one["name"]: one.get("value") for one in container["env"]}.items() >= ENVIRONMENT.items()


def test_requests_go_the_short_ways_of_hilum_serve(rendered):
    documents = rendered[engine.CHART / "ci" / "inference-values.yaml"]
    containers = [one for part, pod, _ in _pods(documents) if part == "inference" for one in pod["containers"]]
    assert len(containers) == 2
    for container in containers:
        assert SHORT_WAYS.items() <= {one["name"]: one.get("value") for one in container["env"]}.items()


def test_the_ray_of_the_chart_is_the_one_that_is_locked():
    locked = (engine.ROOT / "requirements.lock").read_text()
    chart = yaml.safe_load((engine.CHART / "values.yaml").read_text())
    assert f"\nray=={chart['ray']['version']}\n" in locked


def test_the_chart_has_the_version_of_the_package():
    import tomllib

    version = tomllib.loads((engine.ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((engine.CHART / "Chart.yaml").read_text())
    assert (chart["appVersion"], chart["version"]) == (version, version)


@pytest.mark.parametrize("written", render.WRITTEN, ids=lambda path: path.name)
def test_what_is_made_from_the_chart_is_what_the_chart_makes(written):
    assert written.read_text() == render.content(written), "run: make render"


def test_a_schedule_that_waits_for_people_has_not_failed(tmp_path):
    """The very command of the CronJob, in a shell, with a python that ends as it is told."""
    documents = engine.objects(engine.CHART / "ci" / "rounds-values.yaml")
    jobs = [one for one in documents if one["kind"] == "CronJob"]
    (container,) = jobs[0]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$TOLD"\nexit "$CODE"\n')
    python.chmod(0o755)
    for code, wanted in ((0, 0), (3, 0), (2, 2), (4, 4)):
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "CODE": str(code), "TOLD": str(tmp_path / "told")}
        done = subprocess.run([*container["command"], *container["args"]], env=environment, check=False)
        assert done.returncode == wanted
    told = (tmp_path / "told").read_text().split()
    assert told[:3] == ["-m", "hilum", "submit"]
    assert told[told.index("--") + 1 :] == ["campaign", "run", "liver", "--on", "cluster"]


def test_every_setting_and_every_word_of_a_pod_is_one_that_hilum_knows(rendered):
    containers = [
        container
        for documents in rendered.values()
        for _, pod, _ in _pods(documents)
        for container in pod["containers"]
    ]
    settings = {one["name"] for container in containers for one in container.get("env", [])}
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert {name for name in settings if name.startswith(PREFIX)} <= known
    words = {one["args"][3] for one in containers if one.get("args", [])[:3] == ["python", "-m", "hilum"]}
    assert words == {"bridge", "metrics"}
    assert words <= set(get_command(app).commands)


@pytest.mark.parametrize("port", [9090, 9464, 8080, 5432])
def test_probes_ask_the_port_that_is_listened_on(rendered, port):
    for documents in rendered.values():
        for _, pod, _ in _pods(documents):
            for container in pod["containers"]:
                listened = {one["containerPort"]: one["name"] for one in container.get("ports", [])}
                for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                    if port in listened and container["name"] in {"bridge", "control", "label-studio", "postgres"}:
                        assert container[probe].get("httpGet", {"port": listened[port]})["port"] == listened[port]


@pytest.mark.parametrize("full", [False, True])
def test_dashboards_and_rules_are_taken_from_their_folders_when_there_are_any(tmp_path, full):
    import shutil

    chart = tmp_path / "hilum"
    shutil.copytree(engine.CHART, chart, ignore=shutil.ignore_patterns("dashboards", "rules"))
    if full:
        (chart / "dashboards").mkdir()
        (chart / "dashboards" / "campaigns.json").write_text('{"title": "{{ left }} as it is", "panels": []}')
        (chart / "rules").mkdir()
        rule = {"alert": "Late", "expr": "up == 0", "annotations": {"summary": "{{ $labels.job }} is down"}}
        (chart / "rules" / "campaigns.yaml").write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [rule]}]}))
    text = engine.render(engine.CHART / "ci" / "monitoring-values.yaml", chart=chart)
    documents = engine.parsed(text)
    rules = [one for one in documents if one["kind"] == "PrometheusRule"]
    boards = [one for one in documents if "grafana_dashboard" in one["metadata"]["labels"]]
    assert (len(rules), len(boards)) == ((1, 1) if full else (0, 0))
    if full:
        assert rules[0]["spec"]["groups"][0]["rules"] == [rule]
        assert boards[0]["data"]["campaigns.json"] == (chart / "dashboards" / "campaigns.json").read_text()
        assert faults(rules[0]) + faults(boards[0]) == []


def test_helm_itself_runs_where_only_the_cache_and_this_python_are(tmp_path):
    done = subprocess.run([sys.executable, "-m", "tests.helm.engine"], cwd=engine.ROOT, check=False)
    assert done.returncode == 0
