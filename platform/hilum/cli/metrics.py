"""`hilum metrics`: what stands in a store and its ledger, told to a Prometheus."""

import importlib
from typing import Annotated

import typer

from hilum.adapters.addresses import is_loopback
from hilum.cli.bridge import Host
from hilum.cli.console import reply
from hilum.cli.options import Json, StoreUrl
from hilum.core.errors import RequestError

EXPORTER = "hilum_services.control.exporter"
"""Named, and imported when it is asked for: services lie above the command line."""

Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="The port to listen on; 0 takes a free one.")]
Every = Annotated[float, typer.Option("--every", min=1, metavar="SECONDS", help="How often the store is looked at.")]


def metrics(
    *,
    store: StoreUrl = None,
    host: Host = "127.0.0.1",
    port: Port = 9464,
    every: Every = 15,
    json_: Json = False,
) -> None:
    """Tell a Prometheus how campaigns go, until you press Ctrl-C: rounds, costs, people, trainings, champions.

    It reads store and ledger alone and disturbs nobody. Beyond this machine who asks needs a key (`hilum serve key
    prometheus --may metrics`, HILUM_API_KEYS_FILE), unless HILUM_METRICS_OPEN=true says that a network policy keeps
    others out.
    """
    try:
        import uvicorn
    except ImportError:
        raise RequestError("Serving needs FastAPI and uvicorn: pip install 'hilum[services]'.") from None
    app = importlib.import_module(EXPORTER).from_environment(store, every_seconds=every, on_loopback=is_loopback(host))
    config = uvicorn.Config(app, host=host, port=port, access_log=False, server_header=False)
    listening = config.bind_socket()
    listening.listen(config.backlog)
    url = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
    reply(json_, {"url": url}, f"Listening on {url}", next_commands=[f"curl {url}/metrics"])
    uvicorn.Server(config).run(sockets=[listening])
