"""`hilum tune` itself, with its own Ray: six trials, killed, interrupted, gone on with, and none trained twice."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from hilum.adapters.ray_tune import run_trials
from hilum.core.resources import Resources
from hilum.loop import recipe_files
from hilum.store.tables import TRIALS, read_table
from hilum.testing.campaigns import tiny_recipe
from hilum.testing.phantoms import Phantom, phantom_store

SWEEP = {
    "finetune.learning_rate": {"log_uniform": [1e-3, 1e-1]},
    "finetune.batch_size": {"choice": [4, 8]},
}
DONE_FOR_GOOD = (
    "runs/trial/*/rung-*.json",
    "runs/trial/*/manifest.json",
    "runs/finetune/*/manifest.json",
    "runs/tune/*/ends/*.json",
    "checkpoints/*/model.safetensors",
)


@pytest.fixture
def sweep(tmp_path):
    phantom_store(str(tmp_path / "store"), Phantom("segment"))
    (tmp_path / "tiny.yaml").write_text(recipe_files.as_yaml(tiny_recipe("segment")))
    content = {"campaign": "tiny.yaml", "sweep": SWEEP, "num_trials": 6, "num_steps": 27, "grace_steps": 3}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({**content, "campaign": str(tmp_path / "tiny.yaml")}))
    return tmp_path


def start(folder, log):
    own = {"RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0", "HILUM_STATE": str(folder / "state")}
    command = [sys.executable, "-m", "hilum", "tune", "sweep.yaml", "--store", "store", "--json"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | own
    with (folder / log).open("w") as out:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT)


def done(folder):
    """Every training, score and end there is, with the moment it was written."""
    found = [path for pattern in DONE_FOR_GOOD for path in (folder / "store").glob(pattern)]
    digest = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, digest[path]) for path in found}


def num_ends(folder):
    return len(list((folder / "store").glob("runs/tune/*/ends/*.json")))


def stop_when(process, folder, num, how):
    """Send a signal once ``num`` trials have ended, with the rest under way."""
    while process.poll() is None and num_ends(folder) < num:
        time.sleep(0.02)
    assert process.poll() is None, "it was done before it could be stopped"
    process.send_signal(how)
    return process.wait()


@pytest.mark.timeout(900)
def test_a_sweep_that_was_killed_and_interrupted_trains_nothing_twice(sweep):
    assert stop_when(start(sweep, "killed"), sweep, 1, signal.SIGKILL) == -signal.SIGKILL
    after_kill = done(sweep)
    assert 1 <= num_ends(sweep) < 6
    interrupted = start(sweep, "interrupted")
    assert stop_when(interrupted, sweep, num_ends(sweep) + 1, signal.SIGINT) == 130
    after_interrupt = done(sweep)
    assert "same command goes on" in (sweep / "interrupted").read_text()
    assert after_kill.items() <= after_interrupt.items()
    assert num_ends(sweep) < 6

    last = start(sweep, "last")
    assert last.wait() == 0, (sweep / "last").read_text()
    finished = done(sweep)
    assert after_interrupt.items() <= finished.items()
    told = json.loads((sweep / "last").read_text())
    results = told["results"]
    assert not told["already_done"]
    assert results["num_finished"] + results["num_stopped"] == results["num_trials"] == 6
    assert results["num_finished"] >= 1
    # One finetune run for each trial that went to its end, one checkpoint a rung: nothing else was trained.
    num_rungs = sum(len(trial["rungs"]) for trial in results["trials"])
    assert len([name for name in finished if "runs/finetune" in name]) == results["num_finished"]
    assert num_rungs <= len([name for name in finished if name.endswith(".safetensors")]) <= num_rungs + 2

    assert start(sweep, "again").wait() == 0
    assert json.loads((sweep / "again").read_text())["already_done"]
    assert done(sweep) == finished
    check_outcome(sweep, told)


def check_outcome(sweep, told):
    """The best recipe is a campaign's, its score the table's best, and the test side was left alone."""
    url = str(sweep / "store" / "runs" / "tune" / told["run_id"])
    rows = read_table(f"{url}/trials.parquet", TRIALS).to_pylist()
    best = told["results"]["best"]
    whole = [row["score"] for row in rows if row["step"] == 27]
    assert best["score"] == max(whole)
    recipe = recipe_files.campaign_recipe(f"{url}/best.yaml")
    assert recipe.finetune.learning_rate == best["settings"]["finetune.learning_rate"]
    assert Path(url, "trials.png").read_bytes().startswith(b"\x89PNG")
    for manifest in (sweep / "store").glob("runs/evaluate/*/manifest.json"):
        assert json.loads(manifest.read_text())["results"]["test"] == {}


class CtrlC:
    """Ctrl-C that arrives while a finaliser runs, where Python can only say that it ignores it."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0)  # a bytecode for the handler to run in


def one_rung(number, report):
    report({"step": 1, "score": float(number)})


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_lost_in_a_finaliser_still_ends_the_sweep(ray_cluster):
    ended = []

    def on_end(number):
        ended.append(number)
        CtrlC()

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_trials(
            one_rung,
            range(12),
            rungs=[1],
            reduction_factor=3,
            resources=Resources(),
            on_rung=lambda *_: None,
            on_end=on_end,
        )
    assert len(ended) == 1
    assert signal.getsignal(signal.SIGINT) is before
