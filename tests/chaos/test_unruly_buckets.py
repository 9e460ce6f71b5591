"""A whole campaign on object storage that is slow, fails, hangs up, is full, or is gone for a while."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import pytest
import s3fs
from tests.chaos.conftest import NAME, PHANTOM, Calm, undisturbed
from tests.chaos.unruly_bucket import Mood, Unruly, s3_server, s3_settings, unruly

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.cli.boundary import OUR_FAULT, YOUR_REQUEST, run_guarded
from hilum.loop.campaign import Campaign
from hilum.store.layout import Store
from hilum.store.ledger import open_ledger
from hilum.testing.campaigns import check_invariants, determined_files, tiny_recipe
from hilum.testing.invariants import Left, same_choices
from hilum.testing.phantoms import phantom_store

BUCKET = "scans"
RECIPE = tiny_recipe("classify", num_rounds=1, num_per_round=3)
SHARE = 0.06
PASSING: tuple[Mood, ...] = ("slow", "500", "503", "reset", "carried out and reset")


@pytest.fixture(scope="module")
def between() -> Iterator[Unruly]:
    with s3_server() as endpoint, unruly(endpoint) as (between, url), s3_settings(url):
        s3fs.S3FileSystem().mkdir(BUCKET)
        yield between


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Calm:
    return undisturbed(tmp_path_factory.mktemp("calm"), RECIPE)


@dataclass(frozen=True)
class Bucket:
    """A store in the bucket, and a folder of this machine for its ledger."""

    between: Unruly
    store: Store
    ingest_id: str
    folder: Path

    def run(self) -> None:
        ledger = open_ledger(self.store, f"sqlite:///{self.folder}/ledger.sqlite")
        campaign = Campaign.create(self.store, NAME, RECIPE, ledger=ledger)
        campaign.run(executor=InlineExecutor(), annotator=Oracle(self.store, self.ingest_id))

    def run_as_a_command(self) -> int:
        """The exit code; what is to be said is on stderr."""
        return run_guarded(lambda _: self.run(), [])

    def behave(self) -> None:
        self.between.mood = lambda _method, _path: ""
        s3fs.S3FileSystem.clear_instance_cache()

    def check(self, calm: Calm) -> None:
        """What is in the bucket is, byte for byte, what an undisturbed campaign leaves in a folder."""
        s3fs.S3FileSystem().get(self.store.url.removeprefix("s3://"), str(self.folder / "fetched"), recursive=True)
        fetched = Store(str(self.folder / "fetched"))
        check_invariants(fetched, NAME, RECIPE)
        same_choices(Left(fetched, NAME, RECIPE), calm.left)
        assert determined_files(fetched) == calm.files


@pytest.fixture
def bucket(between: Unruly, tmp_path: Path) -> Bucket:
    between.mood = lambda _method, _path: ""
    between.struck.clear()
    return Bucket(between, *phantom_store(f"s3://{BUCKET}/{tmp_path.name}", PHANTOM), tmp_path)


class Drawn:
    """A mood now and then, by the seed."""

    def __init__(self, seed: int) -> None:
        self._chance, self._lock = random.Random(seed), Lock()

    def __call__(self, method: str, path: str) -> Mood:
        with self._lock:
            return self._chance.choice(PASSING) if self._chance.random() < SHARE else ""


class FromThenOn:
    """One mood for every request, from the first thing that is written at a place."""

    def __init__(self, mood: Mood, place: str) -> None:
        self._mood, self._place, self._begun = mood, place, False

    def __call__(self, method: str, path: str) -> Mood:
        self._begun = self._begun or (method == "PUT" and self._place in path)
        # What is full can still be read.
        is_met = self._begun and (self._mood != "full" or method == "PUT")
        return self._mood if is_met else ""


def test_a_bucket_that_is_slow_fails_and_hangs_up_now_and_then_costs_time_alone(bucket: Bucket, calm: Calm) -> None:
    bucket.between.mood = Drawn(3)
    bucket.run()
    struck = dict(bucket.between.struck)
    bucket.behave()
    assert all(struck.get(mood, 0) >= 1 for mood in PASSING), struck
    bucket.check(calm)


@pytest.mark.parametrize(
    ("mood", "place"), [("full", "runs/score/"), ("503", "checkpoints/"), ("reset", "0002-scored.json")]
)
def test_a_bucket_that_stays_full_or_away_is_one_sentence_and_the_campaign_goes_on_afterwards(
    bucket: Bucket, calm: Calm, capfd: pytest.CaptureFixture[str], mood: Mood, place: str
) -> None:
    bucket.between.mood = FromThenOn(mood, place)
    code = bucket.run_as_a_command()
    said = capfd.readouterr().err.strip()
    assert bucket.between.struck[mood] >= 1
    assert code in (YOUR_REQUEST, OUR_FAULT)
    assert "this is our fault" not in said
    assert said.endswith(".")
    assert "Traceback" not in said
    bucket.behave()
    bucket.run()
    bucket.check(calm)
