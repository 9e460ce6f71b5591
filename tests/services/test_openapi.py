"""The OpenAPI document of inference, held against the service by schemathesis: what it allows, and what it does not."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.services.own_server import CLIENT, serving
from tests.services.test_inference import CLASSIFY, SEGMENT, Served

from hilum.adapters.meters import PrometheusMeter
from hilum_services.inference.access import Door
from hilum_services.inference.app import make_app
from hilum_services.inference.limits import Limits
from hilum_services.inference.service import Service

# Bodies are images, which the document can but call bytes: that a service refuses other bytes is no failure.
_NOT_CHECKED = "positive_data_acceptance"


@pytest.fixture
def url(tmp_path):
    made = Served(tmp_path)
    made.champion("liver", SEGMENT)
    made.champion("chest", CLASSIFY, seed=1)
    service = Service(made.store, made.ledger, Limits(), PrometheusMeter())
    with serving(make_app(service, Door(is_open=True))) as url:
        yield url


@pytest.mark.timeout(300)
def test_schemathesis_finds_nothing(url, tmp_path):
    (tmp_path / "schemathesis.toml").write_text('[parameters]\n"path.model" = ["liver", "chest", "liver@champion"]\n')
    program = str(Path(sys.executable).with_name("schemathesis"))
    words = ["--checks", "all", "--exclude-checks", _NOT_CHECKED, "--max-examples", "25", "--seed", "1"]
    command = [program, "--config-file", str(tmp_path / "schemathesis.toml"), "run", f"{url}/v1/openapi.json", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Tested: 12" in done.stdout


def test_every_address_says_how_it_refuses(url):
    document = CLIENT.get(f"{url}/v1/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            assert said["summary"], (method, path)
            assert said["description"], (method, path)
            if path not in ("/v1/health",):
                assert "500" in said["responses"], (method, path)
