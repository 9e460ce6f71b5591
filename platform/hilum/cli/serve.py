"""`hilum serve`: models answer over HTTP, on Ray Serve or in one process."""

import importlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.adapters.addresses import is_loopback
from hilum.cli.console import reply
from hilum.cli.options import Address, Json, StoreUrl
from hilum.core.errors import RequestError

if TYPE_CHECKING:
    from hilum.cli.settings import Settings

APP, SERVE = "hilum_services.inference.app", "hilum_services.inference.serve"
"""Named, and imported when they are asked for: services lie above the command line."""

group = typer.Typer(invoke_without_command=True, epilog="Example: hilum serve --store ./demo")

Host = Annotated[str, typer.Option("--host", metavar="ADDRESS", help="The address to listen on.")]
Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="The port to listen on.")]
Replicas = Annotated[int, typer.Option("--replicas", min=1, help="How many processes answer.")]
Most = Annotated[int | None, typer.Option("--most-replicas", min=1, help="Grow to so many when more is asked.")]
Cpus = Annotated[float, typer.Option("--cpus", min=0, help="Cores of a replica.")]
Gpus = Annotated[float, typer.Option("--gpus", min=0, help="GPUs of a replica; a part of one is allowed.")]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Windows that go through a network together.")]
KeepUnsure = Annotated[
    float | None,
    typer.Option(
        "--keep-unsure",
        min=0,
        max=1,
        metavar="UNCERTAINTY",
        help="Keep images from this uncertainty on, without identity, where their sender consents.",
    ),
]
Shallower = Annotated[
    int | None,
    typer.Option(
        "--shallower-above",
        min=1,
        max=63,
        metavar="IMAGES",
        help="While more images wait, answer requests that name no depth at a shallower one of a nested network.",
    ),
]
WithoutRay = Annotated[bool, typer.Option("--without-ray", help="Answer in this process alone: for a small machine.")]
FastProxy = Annotated[bool, typer.Option("--fast-proxy", help="Ray's HAProxy in front instead of its Python proxy.")]
_KEEP_ALIVE_SECONDS = 30
_TELEMETRY = ("HILUM_LOG", "HILUM_TRACES", "OTEL_EXPORTER_OTLP_ENDPOINT")
SHORT_WAYS = {"RAY_SERVE_PROXY_USE_GRPC": "1", "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0"}
"""What a Ray that is started for serving is told: a request goes from proxy to replica without Ray's object store, and
is answered in the loop that took it."""


@group.callback()
def serve(
    context: typer.Context,
    *,
    store: StoreUrl = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    replicas: Replicas = 1,
    most_replicas: Most = None,
    cpus: Cpus = 1,
    gpus: Gpus = 0,
    batch_size: BatchSize = 8,
    keep_unsure: KeepUnsure = None,
    shallower_above: Shallower = None,
    address: Address = None,
    without_ray: WithoutRay = False,
    fast_proxy: FastProxy = False,
    json_: Json = False,
) -> None:
    """Answer for the store's models over HTTP until you press Ctrl-C.

    Who asks needs a key (`hilum serve key NAME`) or a token of HILUM_OIDC_ISSUER; HILUM_INFERENCE_OPEN=true answers
    whoever asks, on this machine alone. Beyond this machine put a proxy with TLS in front.
    """
    if context.invoked_subcommand is not None:
        return
    from hilum.cli.composition import store_at
    from hilum.cli.settings import read_settings

    settings = read_settings()
    _check_open(host, settings)
    _services(APP).door_from_environment()
    store_at(store)
    how = {"batch_size": batch_size, "keep_from": keep_unsure, "shallower_above": shallower_above}
    if without_ray:
        _in_this_process(store, host, port, how, json_)
        return
    each = {"cpus": cpus, "gpus": gpus, **how}
    shape = _shape(store, settings, replicas=replicas, most_replicas=most_replicas, **each)
    _on_ray(shape, host, port, address, fast_proxy=fast_proxy, json_=json_)


@group.command("config", epilog="Example: hilum serve config --replicas 2")
def config(
    *,
    store: StoreUrl = None,
    host: Host = "0.0.0.0",  # noqa: S104 (a cluster's proxies stand behind its ingress)
    port: Port = 8000,
    replicas: Replicas = 1,
    most_replicas: Most = None,
    cpus: Cpus = 1,
    gpus: Gpus = 0,
    batch_size: BatchSize = 8,
    keep_unsure: KeepUnsure = None,
    shallower_above: Shallower = None,
    json_: Json = False,
) -> None:
    """Print the Serve config, for `serve deploy` and for serveConfigV2 of KubeRay's RayService."""
    import yaml

    from hilum.cli.settings import read_settings

    settings = read_settings()
    _check_open(host, settings)
    how = {"batch_size": batch_size, "keep_from": keep_unsure, "shallower_above": shallower_above}
    each = {"cpus": cpus, "gpus": gpus, **how}
    shape = _shape(store, settings, replicas=replicas, most_replicas=most_replicas, **each)
    content = _services(SERVE).config(shape, host=host, port=port)
    if json_:
        reply(json_, content)
        return
    typer.echo(yaml.safe_dump(content, sort_keys=False), nl=False)


def _check_open(host: str, settings: "Settings") -> None:
    if settings.inference_open and not is_loopback(host):
        raise RequestError(
            f"{host} can be reached from other machines: make keys (`hilum serve key NAME`) and leave "
            "HILUM_INFERENCE_OPEN unset, or listen on 127.0.0.1."
        )


def _in_this_process(store: str | None, host: str, port: int, how: dict[str, Any], json_: bool) -> None:
    uvicorn = _services("uvicorn")
    app = _services(APP).from_environment(store, **how)
    config = uvicorn.Config(
        app, host=host, port=port, access_log=False, server_header=False, timeout_keep_alive=_KEEP_ALIVE_SECONDS
    )
    listening = config.bind_socket()
    listening.listen()  # who asks from now on waits instead of being refused
    _say(host, port, json_)
    uvicorn.Server(config).run(sockets=[listening])


def _on_ray(shape: Any, host: str, port: int, address: str | None, *, fast_proxy: bool, json_: bool) -> None:
    from hilum.adapters.ray_data import connect

    for name, value in SHORT_WAYS.items():
        os.environ.setdefault(name, value)
    if fast_proxy:
        os.environ["RAY_SERVE_ENABLE_HA_PROXY"] = "1"
    connect(address)
    ray_serve = _services("ray.serve")
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # that it listens is said below
    ray_serve.start(http_options={"host": host, "port": port}, logging_config={"log_level": "WARNING"})
    ray_serve.run(_services(SERVE).application(shape), name=_services(SERVE).NAME, route_prefix="/")
    _say(host, port, json_)
    _until_stopped()
    ray_serve.shutdown()


def _until_stopped() -> None:
    import signal
    import threading

    stopped = threading.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: stopped.set())
    stopped.wait()


def _say(host: str, port: int, json_: bool) -> None:
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    reply(json_, {"url": url}, f"Listening on {url}", next_commands=[f"curl {url}/v1/models"])


def _shape(store: str | None, settings: "Settings", **how: Any) -> Any:
    """The replicas as asked for, with the environment that tells them of this store and these keys; no secret."""
    from hilum.cli.settings import PREFIX
    from hilum.store.layout import is_local

    url = store or settings.store
    environment = {"HILUM_STORE": str(Path(url).absolute()) if is_local(url) else url}
    if settings.api_keys_file is not None:
        environment["HILUM_API_KEYS_FILE"] = str(settings.api_keys_file.expanduser().absolute())
    for name in settings.model_fields_set:
        if name.startswith("oidc_") and getattr(settings, name) is not None:
            environment[f"{PREFIX}{name.upper()}"] = str(getattr(settings, name))
    environment |= {name: os.environ[name] for name in _TELEMETRY if name in os.environ}
    if settings.inference_open:
        environment["HILUM_INFERENCE_OPEN"] = "true"
    return _services(SERVE).Shape(environment=environment, **how)


def _services(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise RequestError("Serving needs more packages: pip install 'hilum[services]'.") from None
