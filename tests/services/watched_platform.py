"""A small platform that runs: a campaign that is over, one that waits for people, a simulation, and three processes.

The exporter, the bridge and the inference service are the real commands, each in a process of its own.
"""

import io
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import httpx
import numpy as np
from tests.services.own_prometheus import free_port, until
from tests.services.own_server import CLIENT, KEY, SECRET

from hilum.adapters.api_keys import ApiKey, add_key, new_key
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.label_studio.links import ImagePlace, Signer
from hilum.adapters.label_studio.pages import View
from hilum.adapters.label_studio.slices import hang
from hilum.cli.composition import annotator_of
from hilum.core.errors import WaitingForPeople
from hilum.core.geometry import Patch
from hilum.core.recipes import ArmRecipe, CalibrateRecipe, Choice, RelabelRecipe, SelectRecipe, SimulateRecipe
from hilum.loop.answering.routes import compare_in_shadow
from hilum.loop.campaign import Campaign
from hilum.loop.simulate import Workbench, simulate
from hilum.store.ledger import open_ledger
from hilum.store.volumes import volumes_of
from hilum.testing.campaigns import tiny_recipe
from hilum.testing.phantoms import Phantom, phantom_store

PHANTOM = Phantom("classify", 2, num_frames=30, seed=3)
OUTLINED = Phantom("segment", 2, num_frames=16, seed=4)
PEOPLE = {"annotators": 3, "error_rate": 0.1, "seconds_per_answer": 4.0}
NUM_REQUESTS = 41
"""Drift is told at every 20th image; one of them, and the one before them, are unlike the others."""


class Platform:
    """A store with all that campaigns leave in it."""

    def __init__(self, folder):
        self.folder = folder
        self.store, self.ingest_id = phantom_store(str(folder / "store"), PHANTOM)
        _, self.outlined_id = phantom_store(str(folder / "store"), OUTLINED)
        self.ledger = open_ledger(self.store)
        self.keys = folder / "keys.json"
        self.urls, self.processes = {}, {}

    def new_key(self, name, *may):
        key, digest = new_key()
        add_key(self.keys, ApiKey(name=name, sha256=digest, may=may, reads=("*",)))
        return key

    def run_campaigns(self):
        """Two to their ends, one of people who answered some questions twice; one until people are needed."""
        self._run("liver", several_people(), self.ingest_id)
        models = [point.checkpoint_id for point in self._run("spleen", outlining(), self.outlined_id).curve]
        champion = self.ledger.alias("spleen", "champion")
        compare_in_shadow(self.ledger, "spleen", next(model for model in models if model != champion))
        try:
            self._run("lung", tiny_recipe("classify").model_copy(update={"annotator": Choice(kind="directory")}))
        except WaitingForPeople:
            return
        raise AssertionError("nobody answers in a folder")

    def run_simulation(self):
        """One strategy beside random, two seeds, of outlines that are learnt little by little."""
        _, ingest_id = phantom_store(self.store.url, Phantom("segment", 2))
        recipe = tiny_recipe("segment", num_rounds=3, num_per_round=4)
        learner = {"start": "champion", "num_steps": 12, "learning_rate": 1e-2, "checkpoint_every": 12}
        recipe = recipe.model_copy(update={"finetune": recipe.finetune.model_copy(update=learner)})
        compared = SimulateRecipe(campaign=recipe, strategies={"entropy": {}}, seeds=(0, 1), full_data=False)
        workbench = Workbench(InlineExecutor, annotator_of)
        simulate(self.store, "tiny", compared, executor=InlineExecutor(), workbench=workbench, ingest_id=ingest_id)

    @contextmanager
    def running(self):
        """Exporter, bridge and inference service, until the end of the block."""
        environment = {
            **os.environ,
            "HILUM_STORE": self.store.url,
            "HILUM_API_KEYS_FILE": str(self.keys),
            "HILUM_BRIDGE_KEY": KEY,
            "HILUM_WEBHOOK_SECRET": SECRET,
        }
        commands = {
            "hilum-control": ["metrics", "--port", "0", "--every", "1"],
            "hilum-bridge": ["bridge", "--port", "0"],
            "hilum-inference": ["serve", "--without-ray", "--port", str(free_port())],
        }
        with ExitStack() as stack:
            for name, words in commands.items():
                self.urls[name] = stack.enter_context(self._process(name, words, environment))
            until(lambda: _answers(f"{self.urls['hilum-control']}/ready"), "the exporter has looked")
            until(lambda: _answers(f"{self.urls['hilum-inference']}/v1/ready"), "inference is ready")
            yield

    def ask(self, key, *, num=NUM_REQUESTS):
        """The champion's own validation volume, named, again and again; and an image that is unlike it."""
        url = f"{self.urls['hilum-inference']}/v1/models/spleen/segment"
        headers = {"Authorization": f"Bearer {key}"}
        volumes = volumes_of(self.store, self.outlined_id).values()
        (held_out,) = (volume.volume_id for volume in volumes if volume.side == "validation")
        for _ in range(num):
            answer = CLIENT.post(url, json={"volume": held_out, "ingest": self.outlined_id}, headers=headers)
            assert answer.status_code == 200, answer.text
            time.sleep(0.1)  # its shadow is answered meanwhile: 64 frames may wait
        stripes = np.zeros((1, 16, 16), np.uint16)
        stripes[..., ::2] = 2000
        stream = io.BytesIO()
        np.save(stream, stripes)
        for later, status in ((False, 200), (True, 202)):
            answer = CLIENT.post(url, content=stream.getvalue(), headers=headers, params={"later": later})
            assert answer.status_code == status, answer.text

    def annotate(self, *, first=1):
        """Pages of a patch as Label Studio's browser loads them, and webhooks as it sends them."""
        volume = min(volumes_of(self.store, self.ingest_id).values(), key=lambda one: one.volume_id)
        pages = hang(volume, Patch(volume.volume_id, (0, 0, 0), PHANTOM.patch_shape_zyx))
        place = ImagePlace(self.ingest_id, pages.patch, View(pages).word, 0)
        address = Signer([KEY.encode()]).url(self.urls["hilum-bridge"], place, time.time() + 600)
        for number in range(first, first + 5):
            assert CLIENT.get(address).status_code == 200
            said = {"id": number, "result": [], "updated_at": datetime.now(UTC).isoformat()}
            payload = {
                "action": "ANNOTATION_CREATED",
                "annotation": said,
                "task": {"id": number, "data": {}},
                "project": {"id": 3},
            }
            told = CLIENT.post(
                f"{self.urls['hilum-bridge']}/v1/webhooks/label-studio",
                json=payload,
                headers={"Authorization": f"Bearer {SECRET}"},
            )
            assert told.status_code == 200, told.text

    def _run(self, name, recipe, ingest_id=None):
        ingest_id = ingest_id or self.ingest_id
        campaign = Campaign.create(self.store, name, recipe, ingest_id=ingest_id, ledger=self.ledger)
        annotator = annotator_of(self.store, ingest_id, recipe.annotator)
        return campaign.run(executor=InlineExecutor(), annotator=annotator)

    @contextmanager
    def _process(self, name, words, environment):
        """One command, and the address that it says it listens on."""
        said, log = self.folder / f"{name}.json", self.folder / f"{name}.log"
        command = [sys.executable, "-m", "hilum", *words, "--json"]
        with log.open("wb") as errors, said.open("wb") as answer:
            process = subprocess.Popen(command, env=environment, stdout=answer, stderr=errors)
        try:
            until(lambda: said.read_text().endswith("}\n"), f"{name} listens", process=process, log=log)
            self.processes[name] = process
            yield json.loads(said.read_text())["url"]
        finally:
            process.terminate()
            process.wait(30)


def several_people():
    """A campaign that asks again, of somebody else, what was answered already."""
    arms = (
        ArmRecipe(share=0.5, sampler=Choice(kind="top_k", score="entropy")),
        ArmRecipe(share=0.5, sampler=Choice(kind="random")),
    )
    relabel = RelabelRecipe(share=0.4, max_annotators=3)
    return tiny_recipe("classify", num_rounds=3, num_per_round=12).model_copy(
        update={"select": SelectRecipe(arms=arms, relabel=relabel), "annotator": Choice(kind="oracle", **PEOPLE)}
    )


def outlining():
    """A campaign that learns to outline, and whose champions are calibrated."""
    recipe = tiny_recipe("segment", num_rounds=2, num_per_round=8)
    learner = {"num_steps": 30, "learning_rate": 1e-2, "checkpoint_every": 30}
    finetune = recipe.finetune.model_copy(update=learner)
    return recipe.model_copy(update={"finetune": finetune, "calibrate": CalibrateRecipe(num_items=120)})


def _answers(url):
    try:
        return CLIENT.get(url).status_code == 200
    except httpx.TransportError:
        return False
