"""`hilum bridge`: the service that shows images to Label Studio and takes its webhooks."""

import importlib
from typing import Annotated

import typer

from hilum.adapters.addresses import is_loopback
from hilum.cli.console import reply
from hilum.cli.options import Json, StoreUrl
from hilum.core.errors import RequestError

APP = "hilum_services.bridge.app"
"""Named, and imported when it is asked for: services lie above the command line."""

Host = Annotated[str, typer.Option("--host", metavar="ADDRESS", help="The address to listen on.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="The port to listen on; 0 takes a free one.")]
DraftingModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        envvar="HILUM_PRE_ANNOTATION_MODEL",
        help="Also draft for Label Studio, at /ml, with this model's champion.",
    ),
]
_KEEP_ALIVE_SECONDS = 30


def bridge(
    *,
    store: StoreUrl = None,
    host: Host = "127.0.0.1",
    port: Port = 9090,
    model: DraftingModel = None,
    json_: Json = False,
) -> None:
    """Show images to Label Studio and take its webhooks, until you press Ctrl-C.

    Images are shown by signed addresses: set HILUM_BRIDGE_KEY. Beyond this machine nothing is served unsigned; put a
    proxy with TLS in front.
    """
    from hilum.adapters.label_studio.keys import BRIDGE_KEY, keys_named
    from hilum.cli.settings import read_settings

    try:
        import uvicorn
    except ImportError:
        raise RequestError("Serving needs FastAPI and uvicorn: pip install 'hilum[services]'.") from None
    if not is_loopback(host) and (read_settings().bridge_open or not keys_named(BRIDGE_KEY)):
        raise RequestError(
            f"{host} can be reached from other machines: set {BRIDGE_KEY} and leave HILUM_BRIDGE_OPEN unset, "
            "or listen on 127.0.0.1."
        )
    config = uvicorn.Config(
        importlib.import_module(APP).from_environment(store, model),
        host=host,
        port=port,
        access_log=False,  # it writes addresses with their signatures
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )
    listening = config.bind_socket()
    listening.listen(config.backlog)  # who comes before the application has begun waits for it
    url = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
    reply(json_, {"url": url}, f"Listening on {url}")
    uvicorn.Server(config).run(sockets=[listening])
