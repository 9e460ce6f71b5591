"""The schemas of Kubernetes, KubeRay and Prometheus Operator: whether objects keep to them, unknown fields included."""

import copy
import gzip
import json
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate

KUBERNETES = "1.32"
CRDS = Path(__file__).with_name("crds")
CUSTOM = ("ray.io/", "monitoring.coreos.com/")


def faults(document):
    """What an API server would refuse of an object, one sentence each."""
    kind = (document.get("apiVersion", ""), document.get("kind", ""))
    if kind[0].startswith(CUSTOM):
        return _custom_faults(document)
    try:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.path))}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError:
        return [f"Kubernetes {KUBERNETES} knows no {kind}"]
    return []


def _custom_faults(document):
    validator = _validator(document["kind"])
    found = validator.iter_errors(_without_nulls(document))
    return sorted(f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in found)


@cache
def _validator(kind):
    known = json.loads(gzip.decompress((CRDS / f"{kind}.json.gz").read_bytes()))
    schema = copy.deepcopy(known["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft7Validator(_strict(schema))


def _strict(schema):
    """As an API server reads it: fields that it would drop are faults, defaults are there before it looks."""
    if not isinstance(schema, dict):
        return schema
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    if schema.pop("x-kubernetes-int-or-string", None):
        schema.pop("anyOf", None)
        schema["type"] = ["integer", "string"]
    properties = schema.get("properties", {})
    if "required" in schema:
        schema["required"] = [name for name in schema["required"] if "default" not in properties.get(name, {})]
    if schema.pop("nullable", False) and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    for inner in (*properties.values(), *schema.get("$defs", {}).values()):
        _strict(inner)
    for name in ("items", "additionalProperties", "not"):
        _strict(schema.get(name))
    for name in ("allOf", "anyOf", "oneOf"):
        for inner in schema.get(name, ()):
            _strict(inner)
    return schema


def _without_nulls(value):
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value
