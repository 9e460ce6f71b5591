"""Values that cannot be meant, or would be dangerous, are refused before anything is rendered."""

import json
import re

import jsonschema
import pytest
import yaml
from tests.helm import engine, render

JOBS = engine.CHART / "ci" / "jobs-values.yaml"
SCHEMA = json.loads((engine.CHART / "values.schema.json").read_text())
USUAL = yaml.safe_load((engine.CHART / "values.yaml").read_text())

HOSTILE = {
    "a value nobody knows": {"imagee": {"repository": "hilum"}},
    "a value nobody knows, deeper": {"bridge": {"enabeld": True}},
    "a tag in the repository": {"image": {"repository": "hilum:1.0"}},
    "a digest in the repository": {"image": {"repository": f"hilum@sha256:{'0' * 64}"}},
    "the tag latest": {"image": {"tag": "latest"}},
    "a tag with a space": {"image": {"tag": "1.0 --privileged"}},
    "half a digest": {"image": {"digest": "sha256:0123"}},
    "a command in an image's name": {"image": {"repository": "hilum$(id)"}},
    "capital letters in an image's name": {"image": {"repository": "Hilum"}},
    "root": {"pod": {"runAsUser": 0}},
    "root in the database": {"postgres": {"runAsUser": 0}},
    "inference that is open": {"inference": {"open": True}},
    "inference that is open, by the environment": {"env": {"HILUM_INFERENCE_OPEN": "true"}},
    "a bridge that is open": {"env": {"HILUM_BRIDGE_OPEN": "true"}},
    "metrics that are open": {"env": {"HILUM_METRICS_OPEN": "true"}},
    "Ray without a token": {"env": {"RAY_AUTH_MODE": "disabled"}},
    "Ray without a token, as a value": {"ray": {"auth": {"enabled": False}}},
    "a password in the values": {"env": {"HILUM_DICOMWEB_PASSWORD": "x"}},
    "a key in the values": {"env": {"HILUM_IDENTITY_KEY": "0" * 64}},
    "a ledger's URL in the values": {"env": {"HILUM_LEDGER_URL": "postgresql://hilum:secret@db/hilum"}},
    "a library put under everything": {"env": {"LD_PRELOAD": "/tmp/x.so"}},
    "a variable with a line": {"env": {"A=B": "x"}},
    "a number in the environment": {"env": {"HILUM_DEBUG": 1}},
    "a store on somebody's disk": {"store": {"url": "/etc"}},
    "a store that leaves its folder": {"store": {"url": "/store/../etc"}},
    "a store with a password": {"store": {"url": "s3://key:secret@bucket/x"}},
    "a store of another scheme": {"store": {"url": "file:///store"}},
    "an endpoint with a password": {"store": {"endpointUrl": "https://user:secret@minio.example.org"}},
    "a Secret's name with a slash": {"ledger": {"existingSecret": "../other"}},
    "a Secret's name in capitals": {"ray": {"tokenSecret": "Token"}},
    "yaml in a name": {"fullnameOverride": "x\nkind: ClusterRoleBinding"},
    "a name too long": {"fullnameOverride": "x" * 31},
    "a campaign that is an option": {"rounds": {"campaigns": [{"name": "--store=/tmp", "schedule": "@daily"}]}},
    "a campaign with a command": {"rounds": {"campaigns": [{"name": "a;id", "schedule": "@daily"}]}},
    "a schedule that is none": {"rounds": {"campaigns": [{"name": "liver", "schedule": "every day"}]}},
    "a campaign without a schedule": {"rounds": {"campaigns": [{"name": "liver"}]}},
    "a profile from anywhere": {
        "rounds": {"campaigns": [{"name": "l", "schedule": "@daily", "profile": "/etc/passwd"}]}
    },
    "a recipe outside its folder": {"recipes": {"../liver.yaml": "extends: smoke"}},
    "memory without a unit": {"ray": {"head": {"memory": "8"}}},
    "memory in bytes too small": {"ray": {"head": {"memory": "512k"}}},
    "cores below nothing": {"ray": {"head": {"cpu": "-1"}}},
    "no cores": {"ray": {"head": {"cpu": "0"}}},
    "workers below nothing": {"ray": {"workers": {"cpu": {"minReplicas": -1}}}},
    "workers in words": {"ray": {"workers": {"cpu": {"maxReplicas": "many"}}}},
    "half a GPU for a pod": {"ray": {"workers": {"gpu": {"gpus": 0.5}}}},
    "a group of workers nobody knows": {"ray": {"workers": {"tpu": {"enabled": True}}}},
    "a container without limits": {"bridge": {"resources": {"limits": None}}},
    "a bridge by plain HTTP": {"bridge": {"publicUrl": "http://bridge.example.org"}},
    "pages from anywhere": {"bridge": {"origins": ["*"]}},
    "pages by plain HTTP": {"bridge": {"origins": ["http://label-studio.example.org"]}},
    "Label Studio without a tag": {"labelStudio": {"image": {"repository": "label-studio", "tag": "latest"}}},
    "a host that is a path": {"ingress": {"hosts": {"bridge": "example.org/x"}}},
    "every namespace": {"networkPolicy": {"operatorNamespace": {"kubernetes.io/metadata.name": None}}},
    "any monitoring namespace": {"networkPolicy": {"monitoringNamespace": {"kubernetes.io/metadata.name": "a b"}}},
    "a network that is none": {"networkPolicy": {"outsideCidr": "everywhere"}},
    "a port that is none": {"networkPolicy": {"outsidePorts": [0]}},
    "no ports, which would be all": {"networkPolicy": {"outsidePorts": []}},
    "a hundred percent more": {"inference": {"keepUnsure": 1.5}},
    "an issuer by plain HTTP": {"inference": {"oidc": {"issuer": "http://login.example.org", "audience": "hilum"}}},
    "no replicas": {"inference": {"replicas": 0}},
    "attempts without end": {"rounds": {"attempts": 1000}},
    "a deadline below nothing": {"jobs": {"activeDeadlineSeconds": -1}},
    "an interval without a unit": {"monitoring": {"interval": "30"}},
    "a label that is none": {"monitoring": {"labels": {"release": "a b"}}},
}

MISSING = {
    "image.repository": {"image": {"repository": ""}},
    "store.url": {"store": {"url": ""}},
    "ray.tokenSecret": {"ray": {"tokenSecret": ""}},
    "ledger.existingSecret": {"ledger": {"existingSecret": ""}},
    "ledger.existingSecret and postgres.enabled": {
        "postgres": {"enabled": True, "existingSecret": "x", "image": {"repository": "postgres", "tag": "17"}}
    },
    "store.existingClaim": {"store": {"url": "/store/liver"}},
    "inference.apiKeysSecret": {"inference": {"enabled": True}},
    "inference.oidc.audience": {
        "inference": {"enabled": True, "apiKeysSecret": "x", "oidc": {"issuer": "https://login.example.org"}}
    },
    "inference.maxWorkers": {"inference": {"enabled": True, "apiKeysSecret": "x", "minWorkers": 3, "maxWorkers": 2}},
    "bridge.existingSecret": {"bridge": {"enabled": True}},
    "bridge.origins": {"bridge": {"enabled": True}},
    "labelStudio.existingSecret": {"labelStudio": {"externalUrl": "https://label-studio.example.org"}},
    "labelStudio.image": {"labelStudio": {"enabled": True, "existingSecret": "x"}},
    "postgres.image": {"postgres": {"enabled": True, "existingSecret": "x"}, "ledger": {"existingSecret": ""}},
    "monitoring.apiKeysSecret": {"control": {"enabled": True}, "networkPolicy": {"enabled": False}},
    "monitoring.apiKeysSecret and monitoring.scrapeSecret": {"monitoring": {"scrapeSecret": "x"}},
    "ingress.tlsSecret": {"ingress": {"enabled": True}},
    "ingress.hosts.bridge": {"ingress": {"enabled": True, "tlsSecret": "x", "hosts": {"bridge": "b.example.org"}}},
    "jobs.onCluster": {"jobs": {"onCluster": True}},
    "jobs.queueName": {"jobs": {"onCluster": True, "queueName": "q"}, "cluster": {"enabled": True}},
    "ray.workers": {"jobs": {"queueName": "q"}},
    "ray.workers.gpu.maxReplicas": {"ray": {"workers": {"gpu": {"minReplicas": 9}}}},
    "rounds.campaigns": {"jobs": {"enabled": False}, "rounds": {"campaigns": [{"name": "l", "schedule": "@daily"}]}},
}


@pytest.mark.parametrize("values", HOSTILE.values(), ids=HOSTILE)
def test_hostile_values_are_refused_by_the_schema(values):
    said = engine.refused(JOBS, **values)
    assert "values don't meet the specifications of the schema" in said, said
    (key, inner), *_ = values.items()
    # Of a name that is refused Helm does not say where it is.
    assert key in said or repr(next(iter(inner))) in said, said


@pytest.mark.parametrize(("named", "values"), MISSING.items(), ids=MISSING)
def test_what_is_missing_or_at_odds_is_named(named, values):
    assert f"\n  {named}: " in engine.refused(JOBS, **values)


def test_values_that_are_meant_are_taken():
    assert engine.refused(JOBS) == ""


def test_without_any_values_all_that_must_be_given_is_named_at_once():
    said = engine.refused()
    assert all(name in said for name in ("image.repository", "store.url", "ray.tokenSecret"))


def test_the_usual_values_keep_to_the_schema_and_no_object_of_it_is_open():
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(USUAL, SCHEMA)
    free = {"env", "recipes", "global", "annotations", "labels", "someLabels"}
    for path, schema in _objects(SCHEMA, ()):
        if not free & set(path):
            assert schema.get("additionalProperties") is False, path


def _objects(schema, path):
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield path, schema
        for key, inner in schema.items():
            yield from _objects(inner, (*path, key))


def test_schema_and_values_know_the_same_names():
    assert _names(USUAL) == _names_allowed(SCHEMA) - {"global"}


def _names(values, path=""):
    found = set()
    for key, value in values.items():
        found.add(path + key)
        if isinstance(value, dict) and _inside(path + key):
            found |= _names(value, f"{path}{key}.")
    return found


def _inside(path):
    """Whether the schema names what is inside this value."""
    schema = SCHEMA
    for key in path.split("."):
        schema = _resolved(schema["properties"][key])
    return "properties" in schema


def _names_allowed(schema, path=""):
    found = set()
    for key, inner in _resolved(schema).get("properties", {}).items():
        found |= {path + key} | _names_allowed(inner, f"{path}{key}.")
    return {name for name in found if not re.search(r"resources\.(requests|limits)\.ephemeral-storage$", name)}


def _resolved(schema):
    return SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def test_every_value_has_its_line_in_the_readme():
    told = {path for path, _ in render.commented()}
    leaves = {name for name in _names(USUAL) if not any(other.startswith(f"{name}.") for other in _names(USUAL))}
    for leaf in leaves:
        assert any(leaf == path or leaf.startswith(f"{path}.") for path in told), leaf


def test_every_feature_has_values_that_say_what_they_are_for():
    for path in engine.ci_values():
        assert path.read_text().startswith("# "), path.name
