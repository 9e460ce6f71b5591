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
from hilum.testing.phantoms import Phantom, lesion_image, phantom_store

PHANTOM = Phantom("classify", 2, num_frames=150, seed=3)
"""As many frames a patient, or what a calibration knows of them would differ from all others by chance."""
PEOPLE = {"annotators": 3, "error_rate": 0.1, "seconds_per_answer": 4.0}
NUM_REQUESTS = 320
"""Drift is told after 300 windows, and a frame is one."""


class Platform:
    """A store with all that campaigns leave in it."""

    def __init__(self, folder):
        self.folder = folder
        self.store, self.ingest_id = phantom_store(str(folder / "store"), PHANTOM)
        self.ledger = open_ledger(self.store)
        self.keys = folder / "keys.json"
        self.urls, self.processes = {}, {}

    def new_key(self, name, *may):
        key, digest = new_key()
        add_key(self.keys, ApiKey(name=name, sha256=digest, may=may))
        return key

    def run_campaigns(self):
        """One to its end, of which people answered some questions twice; one until people are needed."""
        finished = self._campaign("liver", finished_recipe())
        finished.run(executor=InlineExecutor(), annotator=self._annotator(finished.recipe))
        rounds = finished.status().history
        compare_in_shadow(self.ledger, "liver", rounds[0].runs["finetune"])
        waiting = self._campaign(
            "lung", tiny_recipe("classify").model_copy(update={"annotator": Choice(kind="directory")})
        )
        try:
            waiting.run(executor=InlineExecutor(), annotator=self._annotator(waiting.recipe))
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

    def ask(self, key, *, num=NUM_REQUESTS, first=100):
        """Frames as the phantom has them for the champion, and one that is none."""
        headers = {"Authorization": f"Bearer {key}"}
        url = f"{self.urls['hilum-inference']}/v1/models/liver/classify"
        stripes = np.zeros((1, 1, 16, 16), np.uint16)
        stripes[..., ::2] = 2000
        for image in (*frames(num, first), stripes):
            answer = CLIENT.post(url, content=_npy(image), headers=headers)
            assert answer.status_code == 200, answer.text
        later = CLIENT.post(url, content=_npy(stripes), headers=headers, params={"later": True})
        assert later.status_code == 202, later.text

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

    def _campaign(self, name, recipe):
        return Campaign.create(self.store, name, recipe, ingest_id=self.ingest_id, ledger=self.ledger)

    def _annotator(self, recipe):
        return annotator_of(self.store, self.ingest_id, recipe.annotator)

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


def finished_recipe():
    """A campaign of several annotators whose champion is calibrated."""
    recipe = tiny_recipe("classify", num_rounds=3, num_per_round=12)
    arms = (
        ArmRecipe(share=0.5, sampler=Choice(kind="top_k", score="entropy")),
        ArmRecipe(share=0.5, sampler=Choice(kind="random")),
    )
    learner = {"num_steps": 30, "batch_size": 8, "learning_rate": 1e-2, "checkpoint_every": 30}
    return recipe.model_copy(
        update={
            "select": SelectRecipe(arms=arms, relabel=RelabelRecipe(share=0.4, max_annotators=3)),
            "annotator": Choice(kind="oracle", **PEOPLE),
            "finetune": recipe.finetune.model_copy(
                update={"architecture": Choice(kind="unet", depth=1, features=(8, 16)), **learner}
            ),
            "calibrate": CalibrateRecipe(num_items=300),
        }
    )


def frames(num, first):
    """Frames as the phantom has them, six pixels aside: they make black and white those of the phantom's volumes."""
    made = []
    for seed in range(first, first + num):
        rng = np.random.default_rng(seed)
        image, _ = lesion_image(rng, PHANTOM.patch_shape_zyx, with_lesion=bool(rng.random() < 0.35))
        image[..., 0, :3], image[..., -1, -3:] = 0, 1200
        made.append(image)
    return made


def _npy(image_CZYX):
    stream = io.BytesIO()
    np.save(stream, image_CZYX[0])
    return stream.getvalue()


def _answers(url):
    try:
        return CLIENT.get(url).status_code == 200
    except httpx.TransportError:
        return False
