"""What the guide and the chart's own notes tell people to type does what they say."""

import re
import shlex

import pytest
import yaml
from tests.helm import engine
from tests.helm.api_server import Api, kubeconfig, serving

from hilum.cli.main import main

GUIDE = engine.ROOT / "platform" / "docs" / "guide" / "kubernetes.md"
FEATURES = engine.ci_values()
_BLOCK = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks():
    return _BLOCK.findall(GUIDE.read_text(encoding="utf-8"))


def _typed(text):
    return [
        line.strip() for line in text.splitlines() if re.match(r" *(helm|hilum|kubectl|HILUM_\w+=\S+ hilum) ", line)
    ]


def _notes(values):
    """What Helm says at the end of an installation; a server is asked for nothing."""
    words = ("install", "hilum", engine.CHART, "--namespace", engine.NAMESPACE, "--dry-run=client", "--values", values)
    return engine.helm(*words).stdout.partition("\nNOTES:\n")[2]


def test_the_values_of_the_guide_can_be_installed():
    mine, *more = [block for block in _blocks() if re.match(r"(image|rounds):", block)]
    assert len(more) == 1
    values = yaml.safe_load(mine)
    documents = engine.objects(**values)
    assert {"ConfigMap", "NetworkPolicy"} <= {one["kind"] for one in documents}
    with_rounds = engine.objects(**values, **yaml.safe_load(more[0]))
    assert "CronJob" in {one["kind"] for one in with_rounds}


def test_every_secret_that_the_guides_values_name_is_made_before():
    text = GUIDE.read_text(encoding="utf-8")
    made = dict(re.findall(r"create secret generic (\S+) (.*)", text))
    (mine,) = [block for block in _blocks() if block.startswith("image:")]
    for document in engine.objects(**yaml.safe_load(mine)):
        for name, key in re.findall(
            r"name: ([\w-]+), key: ([\w-]+)[,}]", yaml.safe_dump(document, default_flow_style=True)
        ):
            if "optional" not in key and key != "AWS_SESSION_TOKEN":
                assert f"={key}=" in made[name] or f"{key}=" in made[name], (name, key)


@pytest.mark.parametrize("values", FEATURES, ids=lambda path: path.name.removesuffix("-values.yaml"))
def test_the_notes_name_what_the_chart_makes(values):
    notes, documents = _notes(values), engine.objects(values)
    assert "helm test hilum --namespace imaging" in notes
    for line in _typed(notes):
        words = shlex.split(line)
        if "--template" in words:
            named = words[words.index("--template") + 1]
            assert named in {one["metadata"]["name"] for one in documents if one["kind"] == "ConfigMap"}
    reached = any(one["kind"] == "Ingress" for one in documents)
    listens = any(one["kind"] == "RayService" or one["metadata"]["name"] == "hilum-bridge" for one in documents)
    assert ("Nothing here is reached from outside" in notes) is (listens and not reached)
    assert ("for trying things" in notes) is any(one["metadata"]["name"] == "hilum-postgres" for one in documents)


def test_the_commands_of_guide_and_notes_are_taken(tmp_path, monkeypatch):
    """Sent to the stand-in of `api_server`, and not followed."""
    notes = _notes(engine.CHART / "ci" / "jobs-values.yaml")
    sent = [line for text in (notes, *_blocks()) for line in _typed(text) if line.startswith("hilum submit --to k8s")]
    assert len(sent) == 2
    api = Api([], template=_template())
    with serving(api) as address:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, address)))
        monkeypatch.delenv("HILUM_STORE", raising=False)
        for line in sent:
            words = shlex.split(line)[1:]
            assert main([words[0], "--no-follow", *words[1:]]) == 0, line
    assert {job["spec"]["entrypoint"] for job in api.jobs.values()} == {
        "python -m hilum campaign run liver --on cluster",
        "python -m hilum doctor",
    }


def _template():
    documents = engine.objects(engine.CHART / "ci" / "jobs-values.yaml")
    (kept,) = [one["data"]["rayjob.yaml"] for one in documents if "rayjob.yaml" in one.get("data", {})]
    return yaml.safe_load(kept)
