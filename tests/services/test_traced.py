"""A request to the inference service joins the trace of whoever sent it."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.round.otlp import collecting

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _ask(url, **headers):
    try:
        with urlopen(Request(url, headers=headers), timeout=20) as answer:
            return answer.status
    except HTTPError as refusal:
        return refusal.code


def test_a_request_is_a_span_of_its_senders_trace_and_says_nothing_of_what_was_sent(tmp_path):
    hilum = [sys.executable, "-m", "hilum"]
    subprocess.run([*hilum, "init", str(tmp_path / "store")], check=True, capture_output=True)
    with collecting() as collector:
        environment = {**os.environ, "HILUM_TRACES": collector.url, "HILUM_INFERENCE_OPEN": "true", "HILUM_LOG": "json"}
        words = ["serve", "--without-ray", "--store", str(tmp_path / "store"), "--port", str(_free_port())]
        with (tmp_path / "log").open("w") as log:
            serving = subprocess.Popen([*hilum, *words], env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
            try:
                url = serving.stdout.readline().split()[-1]
                for _ in range(100):
                    try:
                        assert _ask(f"{url}/v1/models", traceparent=f"00-{TRACE}-{PARENT}-01") == 200
                        break
                    except OSError:
                        time.sleep(0.1)
                assert (
                    _ask(f"{url}/v1/models/DOE-JANE/versions?name=DOE-JANE", traceparent=f"00-{TRACE}-{PARENT}-01")
                    == 404
                )
                assert _ask(f"{url}/v1/health", traceparent="not a trace at all") == 200
            finally:
                serving.send_signal(signal.SIGTERM)
                serving.wait(timeout=60)
    spans = {span.name: span for span in collector.spans}
    asked = spans["GET /v1/models"]
    assert (asked.trace_id, asked.parent) == (TRACE, PARENT)
    assert asked.attributes["http.response.status_code"] == 200
    assert spans["GET /v1/health"].trace_id != TRACE
    assert b"DOE" not in b"".join(collector.payloads)


def test_no_application_of_ours_lets_fastapi_trace_addresses():
    sources = [path.read_text() for path in (Path(__file__).parents[2] / "services").rglob("*.py")]
    made = [line for text in sources for line in text.split("FastAPI(")[1:]]
    assert len(made) >= 3
    assert all("**SILENT" in line[:400] for line in made)
