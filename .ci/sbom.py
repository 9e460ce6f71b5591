"""What is in the lock, as a software bill of materials: CycloneDX 1.6 JSON on stdout.

`python .ci/sbom.py > sbom.json`. Reads what is installed; the same lock gives the same bytes. Licences that are
SPDX names or expressions are told as such, others in their own words. An image has a lock of its own and Debian's
packages beside it: `python .ci/sbom.py LOCK DEBIAN [NAME]`, where DEBIAN holds name, version and architecture of
each, and NAME is the distribution that the image is for, if it is not hilum.
"""

import hashlib
import json
import sys
import tomllib
import uuid
from importlib.metadata import metadata, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from licences import LOCK, ROOT, licence_of, locked
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.utils import canonicalize_name


def bill(lock: Path = LOCK, debian: Path | None = None, of: str | None = None) -> dict[str, Any]:
    """The document. Its serial number follows from the lock and from Debian's packages."""
    packages = "" if debian is None else debian.read_text(encoding="utf-8")
    digest = hashlib.sha256(lock.read_bytes() + packages.encode()).hexdigest()
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}",
        "version": 1,
        "metadata": {"component": _hilum() if of is None else _component(of, version(of), "application")},
        "components": [
            *(_component(name, version) for name, version in sorted(locked(lock))),
            *(_debian(*line.split("\t")) for line in packages.splitlines()),
        ],
    }


def _hilum() -> dict[str, Any]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {
        "type": "application",
        "bom-ref": "hilum",
        "name": project["name"],
        "version": project["version"],
        "purl": f"pkg:pypi/{project['name']}@{project['version']}",
        "licenses": [{"license": {"id": project["license"]}}],
    }


def _debian(name: str, version: str, architecture: str) -> dict[str, Any]:
    purl = f"pkg:deb/debian/{name}@{quote(version)}?arch={architecture}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _component(name: str, version: str, kind: str = "library") -> dict[str, Any]:
    purl = f"pkg:pypi/{canonicalize_name(name)}@{quote(version)}"
    told = metadata(name)
    component = {
        "type": kind,
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "licenses": [_licence(licence_of(name))],
    }
    if summary := told.get("Summary"):
        component["description"] = summary
    return component


def _licence(told: str) -> dict[str, Any]:
    try:
        expression = canonicalize_license_expression(told)
    except InvalidLicenseExpression:
        return {"license": {"name": told}}
    return {"expression": expression} if " " in expression else {"license": {"id": expression}}


if __name__ == "__main__":
    json.dump(bill(*map(Path, sys.argv[1:3]), *sys.argv[3:]), sys.stdout, indent=1)
    sys.stdout.write("\n")
