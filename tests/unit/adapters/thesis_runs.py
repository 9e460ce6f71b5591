"""Preparing and ingesting a miniature set for real, and reading what came of it."""

import csv

from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.own_preparing import prepare
from hilum.adapters.own_sets import own_set, wishes_for
from hilum.adapters.reading import read_item
from hilum.core.resources import Resources
from hilum.loop.recipe_files import campaign_recipe
from hilum.steps import ingest, pool
from hilum.store.layout import Store
from hilum.store.tables import QUARANTINE, read_table
from hilum.store.volumes import volumes_of

AS_IN = {"luna16": "ncc"}


def prepared(name, tmp_path, **given):
    wanted = own_set(name)
    return prepare(wanted, tmp_path / "theirs", tmp_path / "out", wishes_for(wanted, given))


def ingested(name, tmp_path):
    """Everything that a store holds of the prepared folder, by id, with what was refused."""
    store = Store(str(tmp_path / "store"))
    recipe = campaign_recipe(AS_IN.get(name, name)).ingest
    manifest = ingest.run(
        recipe,
        find_source(str(tmp_path / "out")),
        store=store,
        executor=InlineExecutor(),
        resources=Resources(),
        read=read_item,
    )
    refused = read_table(f"{store.run('ingest', manifest.run_id)}/quarantine.parquet", QUARANTINE).to_pylist()
    assert refused == []
    return manifest, list(volumes_of(store, manifest.run_id).values())


def num_candidates(name, tmp_path, manifest):
    """How many the set's own recipe would ask about."""
    made = pool.run(
        campaign_recipe(name).pool,
        {"ingest": manifest.run_id},
        store=Store(str(tmp_path / "store")),
        executor=InlineExecutor(),
        resources=Resources(),
    )
    return made.results["num_candidates"]


def table(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def sides_of(tmp_path):
    return {row["patient"]: row["side"] for row in table(tmp_path / "out" / "index.csv")}


def states(folder):
    """Each file's content and time of change."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")) if path.is_file()}
