"""What is made from the chart and committed: its README, and the manifests of deploy/kuberay. ``make render``."""

import re
import sys

import yaml
from tests.helm import engine

README = engine.CHART / "README.md"
KUBERAY = engine.ROOT / "deploy" / "kuberay"
_CI = engine.CHART / "ci"
_FEATURES = {"raycluster": "cluster", "rayjob": "jobs", "rayservice": "inference"}
WRITTEN = [README, *(KUBERAY / f"{name}.yaml" for name in _FEATURES)]

_HEAD = """# The chart hilum

Made from `values.yaml` by `make render`. How it is used: [the guide](../../platform/docs/guide/kubernetes.md).

```text
helm install liver helm/hilum --namespace imaging --values mine.yaml
```

`mine.yaml` says at least `image.repository`, `store.url`, `ray.tokenSecret` and, for a store on `s3://`,
`ledger.existingSecret`. Whatever else is missing is told by name. Values that are not listed here are refused.
[ci/](ci) has an example of every feature.

| value | usually | |
|---|---|---|
"""


def content(written):
    """What a committed file has to hold."""
    return readme() if written == README else manifest(written.stem)


def readme():
    """The values as a table, from the comments above them."""
    values = yaml.safe_load((engine.CHART / "values.yaml").read_text(encoding="utf-8"))
    rows = [f"| `{path}` | `{_shown(_value(values, path))}` | {text} |" for path, text in commented()]
    return _HEAD + "\n".join(rows) + "\n"


def commented():
    """(path, comment) of every value that has one, in order."""
    path, comment, found = [], "", []
    for line in (engine.CHART / "values.yaml").read_text(encoding="utf-8").splitlines():
        begun = re.match(r"\s*# -- (.*)", line)
        key = re.match(r"( *)([A-Za-z]\w*):", line)
        if begun:
            comment = begun[1]
        elif key:
            path = [*path[: len(key[1]) // 2], key[2]]
            if comment:
                found.append((".".join(path), comment))
            comment = ""
    return found


def manifest(name):
    """One kind of Ray object as the chart renders it."""
    documents = engine.objects(_CI / f"{_FEATURES[name]}-values.yaml")
    if name == "rayjob":
        (kept,) = [one["data"]["rayjob.yaml"] for one in documents if "rayjob.yaml" in one.get("data", {})]
        (found,) = engine.parsed(kept)
    else:
        (found,) = [one for one in documents if one["kind"].lower() == name]
    for label in ("app.kubernetes.io/managed-by", "helm.sh/chart"):
        found["metadata"]["labels"].pop(label)
    found["metadata"].pop("namespace")
    says = (
        f"# Rendered from helm/hilum with ci/{_FEATURES[name]}-values.yaml by `make render`; not to be edited.\n"
        "# Its Secrets and service accounts are yours to make; the chart also makes network policies around it.\n"
    )
    return says + yaml.dump(found, Dumper=_Plain, sort_keys=False, width=120)


class _Plain(yaml.SafeDumper):
    """Text of several lines as such."""


def _text(dumper, text):
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Plain.add_representer(str, _text)


def _value(values, path):
    for key in path.split("."):
        values = values[key]
    return values


def _shown(value):
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).strip().removesuffix("...").strip()
    return text if len(text) <= 60 else f"{text[:57]}…"


def main():
    KUBERAY.mkdir(parents=True, exist_ok=True)
    for written in WRITTEN:
        written.write_text(content(written), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
