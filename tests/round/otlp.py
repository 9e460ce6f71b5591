"""A collector of traces on loopback: takes what OpenTelemetry's exporters send over HTTP, and decodes it."""

import gzip
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    """One span as it was sent. Ids are hexadecimal; a root has the parent ''."""

    name: str
    trace_id: str
    span_id: str
    parent: str
    seconds: float
    attributes: dict


class Collector(ThreadingHTTPServer):
    """What came, span by span and as bytes."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans, self.payloads = [], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        assert self.path == "/v1/traces"
        request = ExportTraceServiceRequest.FromString(body)
        self.server.payloads.append(body)
        self.server.spans += [_span(s) for r in request.resource_spans for c in r.scope_spans for s in c.spans]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def _span(sent):
    values = {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in sent.attributes}
    seconds = (sent.end_time_unix_nano - sent.start_time_unix_nano) / 1e9
    return Span(sent.name, sent.trace_id.hex(), sent.span_id.hex(), sent.parent_span_id.hex(), seconds, values)


@contextmanager
def collecting():
    collector = Collector()
    thread = threading.Thread(target=collector.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector.shutdown()
        collector.server_close()
