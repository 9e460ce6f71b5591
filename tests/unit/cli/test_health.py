"""What the doctor looks at."""

import re
import subprocess
import sys

import pytest

from hilum.cli.health import PACKAGES, damaged_places, machine
from hilum.store.manifest import write_bytes


def test_this_machine_is_described_by_versions_cores_and_memory():
    found = machine()
    assert set(PACKAGES) <= set(found)
    assert int(found["cores"]) >= 1
    assert re.fullmatch(r"[\d.]+ GiB, [\d.]+ free|unknown", found["memory"])


@pytest.mark.parametrize("code", ["from hilum.cli.health import machine; machine()", "import hilum.cli.main"])
def test_describing_the_machine_and_asking_for_help_load_none_of_its_packages(code):
    program = f"import sys; {code}; print({{'torch', 'ray'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_whole_places_are_counted_and_damaged_ones_named(store):
    assert damaged_places(store)[0] == 1
    assert damaged_places(store)[1] == []
    (ingest_id,) = {place.rsplit("/", 1)[-1] for place in _places(store)}
    write_bytes(f"{store.run('ingest', ingest_id)}/volumes.parquet", b"other bytes")
    num, damaged = damaged_places(store)
    assert (num, [damage.place for damage in damaged]) == (1, [f"runs/ingest/{ingest_id}"])


def _places(store):
    from hilum.store.inspection import finished_places

    return finished_places(store)
