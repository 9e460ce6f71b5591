"""Every claim of the threat model names a test that exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "platform/docs/guide/security.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


def test_the_threat_model_has_claims_of_every_kind():
    kinds = re.findall(r"^\| \*\*(\w+)\*\*", PAGE, re.MULTILINE)
    assert kinds == ["spoofing", "tampering", "repudiation", "information", "denial", "elevation"]
    assert len(NAMED) >= 25


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_every_proof_exists(file, test):
    assert f"\ndef {test}(" in (ROOT / file).read_text(encoding="utf-8")


def test_every_row_has_an_answer_and_a_proof():
    table = PAGE.split("| threat |")[1].split("\n\n")[0].splitlines()[2:]
    for row in table:
        threat, answer, proof = (cell.strip() for cell in row.strip("|").split("|"))
        assert bool(threat) == bool(answer), row
        assert proof.startswith("`tests/"), row
