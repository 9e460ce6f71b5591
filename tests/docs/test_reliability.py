"""The page that says what may break names a test for each fault, and each of these tests is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "platform" / "docs" / "guide" / "reliability.md").read_text(encoding="utf-8")
FAULTS = [*(f"R{n}" for n in range(1, 7)), *(f"C{n}" for n in range(1, 4)), *(f"Z{n}" for n in range(1, 6))]
INVARIANTS = [f"I{n}" for n in range(1, 9)]
ROWS = re.findall(r"^\| ([RCZI]\d(?:–I8)?) \|.*\| `(tests/\S+?)::(\w+)` \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("name", [*FAULTS, *INVARIANTS])
def test_every_fault_and_every_invariant_has_its_row(name: str) -> None:
    assert name in [row for row, _, _ in ROWS]


def test_every_row_of_the_tables_names_a_test() -> None:
    assert len(re.findall(r"^\| [RCZI]\d", PAGE, re.MULTILINE)) == len(ROWS)


@pytest.mark.parametrize(("row", "file", "test"), ROWS, ids=lambda part: str(part)[:40])
def test_every_named_test_is_there(row: str, file: str, test: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == test]
    assert found, f"{row}: {file} has no {test}"
    assert not [mark for mark in found[0].decorator_list if "mark.skip" in ast.unparse(mark)], (
        f"{row}: {test} is skipped"
    )
