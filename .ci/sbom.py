"""What is in the lock, as a software bill of materials: CycloneDX 1.6 JSON on stdout.

`python .ci/sbom.py > sbom.json`. Reads what is installed; the same lock gives the same bytes. Licences that are
SPDX names or expressions are told as such, others in their own words.
"""

import hashlib
import json
import sys
import tomllib
import uuid
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

from licences import LOCK, ROOT, licence_of, locked
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.utils import canonicalize_name


def bill(lock: Path = LOCK) -> dict[str, Any]:
    """The document. Its serial number follows from the lock."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "hilum",
                "name": project["name"],
                "version": project["version"],
                "purl": f"pkg:pypi/{project['name']}@{project['version']}",
                "licenses": [{"license": {"id": project["license"]}}],
            }
        },
        "components": [_component(name, version) for name, version in sorted(locked(lock))],
    }


def _component(name: str, version: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{canonicalize_name(name)}@{version}"
    told = metadata(name)
    component = {
        "type": "library",
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
    json.dump(bill(), sys.stdout, indent=1)
    sys.stdout.write("\n")
