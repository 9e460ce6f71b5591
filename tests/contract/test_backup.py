"""A disaster, rehearsed: store and ledger are destroyed in the middle of a round and come back with every answer."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.core.errors import ConflictError, RequestError
from hilum.loop.backup import back_up, restore
from hilum.loop.campaign import Campaign
from hilum.loop.events import history, runs_of
from hilum.loop.rebuild import rebuild_ledger
from hilum.loop.stages import Stage
from hilum.store import vault as vaults
from hilum.store.audit import records, verify
from hilum.store.inspection import damages
from hilum.store.labels import read_answers
from hilum.store.layout import Store
from hilum.store.ledger import open_ledger
from hilum.store.selections import read_selection
from hilum.testing.campaigns import check_invariants, determined_files, tiny_recipe
from hilum.testing.phantoms import Phantom, phantom_store

RECIPE = tiny_recipe("classify", num_rounds=3, num_per_round=3)
INLINE = InlineExecutor()


def _quiet(done, total):
    pass


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    _, ingest_id = phantom_store(str(folder), Phantom("classify", 2))
    return folder, ingest_id


@pytest.fixture
def new_store(phantom, tmp_path):
    def copy(name):
        shutil.copytree(phantom[0], tmp_path / name)
        return Store(str(tmp_path / name)), phantom[1]

    return copy


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_url(request):
    """None: the file in the store."""
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else None


def _destroy(store, ledger_url):
    shutil.rmtree(store.url)
    if ledger_url is not None:
        with psycopg.connect(ledger_url, autocommit=True) as db:
            for table in ("campaigns", "aliases", "leases", "tasks", "alembic_version"):
                db.execute(f"DROP TABLE {table}")


def _advance_until(campaign, annotator, number, stage):
    while (campaign.round_number, campaign.stage) != (number, stage):
        campaign.advance(executor=INLINE, annotator=annotator)


def _asked(store):
    return [
        [chosen.candidate.candidate_id for chosen in read_selection(store, runs_of(events)["select"])]
        for events in history(store, "liver")
        if Stage.SELECTED in events
    ]


@pytest.mark.parametrize("stage", [Stage.PUBLISHED, Stage.COLLECTED, Stage.PROMOTED])
def test_after_destruction_and_restoring_the_campaign_goes_on_as_if_nothing_had_happened(
    stage, new_store, ledger_url, tmp_path
):
    vault = str(tmp_path / "vault")
    store, ingest_id = new_store("store")
    oracle = Oracle(store, ingest_id)
    ledger = open_ledger(store, ledger_url)
    campaign = Campaign.create(store, "liver", RECIPE, ledger=ledger)
    _advance_until(campaign, oracle, 1, stage)
    ledger.remember_tasks(runs_of(history(store, "liver")[1])["select"], {"candidate": "17"})
    collected = read_answers(
        store, runs_of(history(store, "liver")[-1 if stage is not Stage.PUBLISHED else 0])["collect"]
    )
    places, aliases = list(ledger.places()), dict(ledger.aliases())
    back_up(store, ledger, vault, on_file=_quiet)
    ledger.close()

    _destroy(store, ledger_url)
    restore(vault, None, store, ledger_url, on_file=_quiet)

    ledger = open_ledger(store, ledger_url)
    assert (list(ledger.places()), dict(ledger.aliases())) == (places, aliases)
    assert ledger.external_ids(runs_of(history(store, "liver")[1])["select"]) == {"candidate": "17"}
    assert not [one for one in damages(store) if one]
    campaign = Campaign.open(store, "liver", ledger=ledger)
    campaign.run(executor=INLINE, annotator=oracle)
    check_invariants(store, "liver", RECIPE)
    final = {one.annotation_id for one in read_answers(store, runs_of(history(store, "liver")[-1])["collect"])}
    assert collected
    assert {one.annotation_id for one in collected} <= final
    ledger.close()

    undisturbed, ingest_id = new_store("undisturbed")
    Campaign.create(undisturbed, "liver", RECIPE).run(executor=INLINE, annotator=Oracle(undisturbed, ingest_id))
    assert _asked(store) == _asked(undisturbed)
    assert sum(map(len, _asked(store))) == 9
    assert determined_files(store) == determined_files(undisturbed)
    assert verify(store).wrong is None
    assert [one.action for one in records(store) if one.campaign is None] == ["restored"]


RUN = """
import sys
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.loop.campaign import Campaign
from hilum.store.layout import Store
from hilum.store.ledger import open_ledger
store = Store(sys.argv[1])
campaign = Campaign.open(store, "liver", ledger=open_ledger(store, sys.argv[3] or None))
print("begun", flush=True)
campaign.run(executor=InlineExecutor(), annotator=Oracle(store, sys.argv[2]))
"""


def test_every_copy_made_while_a_campaign_runs_restores_and_goes_on_to_the_same_end(new_store, ledger_url, tmp_path):
    vault = str(tmp_path / "vault")
    store, ingest_id = new_store("store")
    ledger = open_ledger(store, ledger_url)
    Campaign.create(store, "liver", RECIPE, ledger=ledger)
    command = [sys.executable, "-c", RUN, store.url, ingest_id, ledger_url or ""]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert running.stdout.readline() == "begun\n"
    while running.poll() is None:
        back_up(store, ledger, vault, on_file=_quiet)
    assert running.returncode == 0
    ledger.close()
    made = vaults.snapshots(vault)
    seen = {tuple(vaults.snapshot_ledger(vault, one)["campaigns"][0].values()): one for one in made}
    assert len(seen) >= 3, "the campaign ended before it was copied at three of its stages"
    whole = determined_files(store)
    for number, snapshot in enumerate(list(seen.values())[:: max(1, len(seen) // 4)]):
        again = Store(str(tmp_path / f"again-{number}"))
        restore(vault, snapshot, again, None, on_file=_quiet)
        assert not [one for one in damages(again) if one]
        Campaign.open(again, "liver").run(executor=INLINE, annotator=Oracle(again, ingest_id))
        assert determined_files(again) == whole
        assert verify(again).wrong is None


@pytest.fixture
def backed_up(new_store, tmp_path):
    store, ingest_id = new_store("store")
    campaign = Campaign.create(store, "liver", RECIPE)
    _advance_until(campaign, Oracle(store, ingest_id), 0, Stage.COLLECTED)
    back_up(store, open_ledger(store), str(tmp_path / "vault"), on_file=_quiet)
    return store, str(tmp_path / "vault")


RESTORE = """
import sys
from hilum.loop.backup import restore
from hilum.store.layout import Store
restore(sys.argv[1], None, Store(sys.argv[2]), None, on_file=lambda n, _: print(n, flush=True))
"""


@pytest.mark.parametrize("num_files", [1, 40])
def test_a_restoring_that_is_killed_is_no_store_yet_and_is_gone_on_with(num_files, backed_up, tmp_path):
    store, vault = backed_up
    again = Store(str(tmp_path / "again"))
    restoring = subprocess.Popen([sys.executable, "-c", RESTORE, vault, again.url], stdout=subprocess.PIPE, text=True)
    for _ in range(num_files):
        assert restoring.stdout.readline()
    os.kill(restoring.pid, signal.SIGKILL)
    restoring.wait(timeout=30)
    restore(vault, None, again, None, on_file=_quiet)
    assert determined_files(again) == determined_files(store)
    assert not Path(again.path("restoring.json")).exists()
    with pytest.raises(ConflictError, match="is not empty"):
        restore(vault, None, again, None, on_file=_quiet)


def test_a_folder_with_anything_in_it_is_not_restored_into(backed_up, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_bytes(b"mine")
    with pytest.raises(ConflictError, match="not empty"):
        restore(backed_up[1], None, Store(str(tmp_path / "full")), None, on_file=_quiet)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.doc"]


def test_a_ledger_with_campaigns_in_it_is_not_restored_into(backed_up, postgres_url, tmp_path):
    theirs = open_ledger(Store(str(tmp_path / "theirs")), postgres_url)
    theirs.start("theirs", "opened")
    with pytest.raises(ConflictError, match="it knows theirs"):
        restore(backed_up[1], None, Store(str(tmp_path / "again")), postgres_url, on_file=_quiet)
    assert [place.name for place in theirs.places()] == ["theirs"]
    theirs.close()
    assert not Path(tmp_path, "again", "hilum.json").exists()


def test_the_wrong_ledger_is_refused_before_anything_is_copied(backed_up, postgres_url, tmp_path):
    store, _ = backed_up
    empty = open_ledger(store, postgres_url)
    with pytest.raises(RequestError, match="does not know campaign 'liver'"):
        back_up(store, empty, str(tmp_path / "other"), on_file=_quiet)
    empty.start("liver", "opened")
    empty.start("theirs", "opened")
    with pytest.raises(RequestError, match="campaign 'theirs', which this store does not have"):
        back_up(store, empty, str(tmp_path / "other"), on_file=_quiet)
    empty.close()
    assert not (tmp_path / "other").exists()


def test_a_lost_ledger_is_rebuilt_before_it_is_backed_up(backed_up, tmp_path):
    store, vault = backed_up
    for file in Path(store.url).glob("ledger.sqlite*"):
        file.unlink()
    with pytest.raises(RequestError, match="doctor --rebuild"):
        back_up(store, open_ledger(store), vault, on_file=_quiet)
    rebuild_ledger(store)
    assert back_up(store, open_ledger(store), vault, on_file=_quiet).manifest.run_id == vaults.snapshots(vault)[-1]


@pytest.mark.parametrize("where", ["store/backup", "store", "."])
def test_a_backup_in_the_store_itself_is_refused(where, backed_up, tmp_path):
    store, _ = backed_up
    with pytest.raises(RequestError, match="in the store itself"):
        back_up(store, open_ledger(store), str(tmp_path / where), on_file=_quiet)


def test_the_key_of_the_pseudonyms_comes_back_for_its_owner_alone(backed_up, tmp_path):
    store, vault = backed_up
    Path(store.identity_file).write_text("ab" * 32)
    back_up(store, open_ledger(store), vault, on_file=_quiet)
    again = Store(str(tmp_path / "again"))
    restore(vault, None, again, None, on_file=_quiet)
    key = Path(again.identity_file)
    assert key.read_text() == "ab" * 32
    assert key.stat().st_mode & 0o077 == 0


def test_an_answer_that_comes_while_it_is_copied_is_in_this_copy_or_the_next(backed_up, tmp_path):
    """A folder of questions is part of the store; what is written there late is not lost by being late."""
    store, vault = backed_up
    late = Path(store.path("questions/x/answers.csv"))
    late.parent.mkdir(parents=True)
    writing = threading.Thread(target=lambda: late.write_text("late"))
    writing.start()
    back_up(store, open_ledger(store), vault, on_file=_quiet)
    writing.join()
    back_up(store, open_ledger(store), vault, on_file=_quiet)
    restore(vault, None, Store(str(tmp_path / "again")), None, on_file=_quiet)
    assert (tmp_path / "again/questions/x/answers.csv").read_text() == "late"
