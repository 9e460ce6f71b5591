"""The bridge as one ASGI application: ``uvicorn --factory hilum_services.bridge.app:from_environment``."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.middleware.cors import CORSMiddleware

from hilum.adapters.label_studio.keys import BRIDGE_KEY, WEBHOOK_SECRET, Keys, keys_named
from hilum.adapters.label_studio.links import Signer
from hilum.adapters.meters import PrometheusMeter
from hilum.cli.composition import store_at
from hilum.cli.settings import read_settings
from hilum.core.errors import HilumError, RequestError
from hilum.store.layout import Store, require
from hilum_services.bridge.counting import counted
from hilum_services.bridge.images import images_router
from hilum_services.bridge.pictures import Pictures
from hilum_services.bridge.webhooks import LARGEST_BODY, webhooks_router
from hilum_services.inference.access import Door
from hilum_services.metrics_door import metrics_door, metrics_router
from hilum_services.refusals import answer_errors, refusal
from hilum_services.traced import SILENT

PRE_ANNOTATION = "/ml"
_PREFLIGHT_SECONDS = 600
_HEADERS = {
    "Vary": "Origin",  # also where no origin asked: a cache must not give that answer to one that does
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Content-Security-Policy": "default-src 'none'",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class Access:
    """Who may ask: keys of addresses (none: everybody sees all), secrets of webhooks, origins of pages."""

    image_keys: Keys
    webhook_secrets: Keys
    origins: tuple[str, ...]
    metrics: Door | None = None
    """Who may read what is counted; None: nobody."""


def make_app(store: Store, access: Access, *, largest_webhook: int = LARGEST_BODY) -> FastAPI:
    """The bridge of one store."""
    meter = PrometheusMeter()
    app = FastAPI(title="hilum bridge", docs_url=None, redoc_url=None, openapi_url=None, **SILENT)
    answer_errors(app)
    app.include_router(images_router(Pictures(store), Signer(access.image_keys) if access.image_keys else None))
    app.include_router(webhooks_router(store, access.webhook_secrets, largest_body=largest_webhook))

    if access.metrics is not None:
        app.include_router(metrics_router(meter.exposition, access.metrics))

    @app.get("/health")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "UP"})

    @app.get("/ready")
    def ready() -> JSONResponse:
        """Whether the store can be read now."""
        try:
            require(store.settings_file, "store")
        except (HilumError, OSError):
            return refusal(503, "The store cannot be read.")
        return JSONResponse({"status": "READY"})

    @app.middleware("http")
    async def with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        with counted(meter, request.url.path) as line:
            response = await call_next(request)
            line.status = response.status_code
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(access.origins),
        allow_methods=["GET", "HEAD"],
        expose_headers=["ETag"],
        max_age=_PREFLIGHT_SECONDS,
    )
    return app


def from_environment(store_url: str | None = None, model: str | None = None) -> FastAPI:
    """The bridge that the ``HILUM_*`` environment describes, refused where it would show pictures to anybody.

    ``store_url`` and ``model`` (whose champion drafts at /ml) are used instead of what the environment says.
    """
    settings = read_settings()
    keys = keys_named(BRIDGE_KEY)
    if not keys and not settings.bridge_open:
        raise RequestError(
            f"The bridge needs a key that signs the addresses of images: set {BRIDGE_KEY} or {BRIDGE_KEY}_FILE. "
            "On your own machine HILUM_BRIDGE_OPEN=true shows images to whoever asks."
        )
    access = Access(
        image_keys=() if settings.bridge_open else keys,
        webhook_secrets=keys_named(WEBHOOK_SECRET),
        origins=checked_origins(settings.bridge_origins.split()),
        metrics=metrics_door(settings),
    )
    app = make_app(store_at(store_url), access)
    if model or settings.pre_annotation_model:
        # Late import: pictures need no torch.
        from hilum_services.pre_annotation.app import from_environment as pre_annotation

        app.mount(PRE_ANNOTATION, pre_annotation(store_url, model))
    return app


def checked_origins(origins: Sequence[str]) -> tuple[str, ...]:
    """Origins as browsers send them; RequestError for anything that no browser would."""
    for origin in origins:
        parts = urlsplit(origin)
        if parts.scheme not in {"http", "https"} or origin != f"{parts.scheme}://{parts.netloc}" or parts.username:
            raise RequestError(
                f"HILUM_BRIDGE_ORIGINS: {origin!r} is no origin; give such as https://label-studio.example.org."
            )
    return tuple(origins)
