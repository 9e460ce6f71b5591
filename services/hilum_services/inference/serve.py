"""Inference on Ray Serve: ``serve run hilum_services.inference.serve:application``, or `hilum serve`.

Every replica is the whole service: what is asked goes through one process only, whatever the number of replicas. They
read the same ``HILUM_*`` environment as `hilum serve` does.
"""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from ray import serve

from hilum.nn.kept_memory import ENVIRONMENT

NAME = "inference"
IMPORT_PATH = "hilum_services.inference.serve:application"
_BUSY = 8
"""Requests under way from which on a replica is helped by another."""


class Shape(BaseModel):
    """How many replicas there are, and what each has. ``environment`` is what the replicas' own lacks.

    Ray keeps the environment readable: a secret belongs into a file that a variable names.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    replicas: int = Field(default=1, ge=1)
    most_replicas: int | None = Field(default=None, ge=1)
    cpus: float = Field(default=1, ge=0)
    gpus: float = Field(default=0, ge=0)
    batch_size: int = Field(default=8, ge=1)
    keep_from: float | None = Field(default=None, ge=0, le=1)
    shallower_above: int | None = Field(default=None, ge=1)
    most_ongoing: int = Field(default=1024, ge=1)
    environment: dict[str, str] = {}


def application(shape: Shape = Shape()) -> serve.Application:  # noqa: B008 (frozen; Serve passes a config's args)
    """The application for ``serve.run`` and for a Serve config's ``args``."""
    replica = serve.deployment(serve.ingress(_ingress_of(shape))(), name=NAME, **options(shape))
    return replica.bind()


def options(shape: Shape) -> dict[str, Any]:
    """The deployment's options: a killed replica is noticed within two seconds, and nobody queues without end."""
    actor: dict[str, Any] = {"num_cpus": shape.cpus, "runtime_env": {"env_vars": _environment(shape)}}
    if shape.gpus:
        actor["num_gpus"] = shape.gpus
    made: dict[str, Any] = {
        "ray_actor_options": actor,
        "max_ongoing_requests": shape.most_ongoing,
        "max_queued_requests": shape.most_ongoing,
        "health_check_period_s": 2,
        "health_check_timeout_s": 10,
        "graceful_shutdown_timeout_s": 30,
        "logging_config": {"enable_access_log": False},  # the audit has a line of every request
    }
    if shape.most_replicas is None or shape.most_replicas <= shape.replicas:
        return {**made, "num_replicas": shape.replicas}
    scaling = {
        "min_replicas": shape.replicas,
        "max_replicas": shape.most_replicas,
        "target_ongoing_requests": _BUSY,
        "upscale_delay_s": 10,
    }
    return {**made, "autoscaling_config": scaling}


def config(shape: Shape, *, host: str, port: int) -> dict[str, Any]:
    """A Serve config file's content, as `serve deploy` and KubeRay's RayService take it."""
    changes = options(shape)
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": host, "port": port},
        "applications": [
            {
                "name": NAME,
                "route_prefix": "/",
                "import_path": IMPORT_PATH,
                "args": shape.model_dump(mode="json"),
                "deployments": [{"name": NAME, **changes}],
            }
        ],
    }


def _environment(shape: Shape) -> Mapping[str, str]:
    threads = str(max(1, int(shape.cpus)))
    return {"OMP_NUM_THREADS": threads, **ENVIRONMENT, **shape.environment}


def _ingress_of(shape: Shape) -> Callable[[], FastAPI]:
    """What makes the service in a replica. Serve calls only a plain function without parameters there."""

    def ingress() -> FastAPI:
        from hilum.adapters.meters import RayMeter
        from hilum_services.inference.app import BodyFirst, from_environment

        how = shape.model_dump(include={"batch_size", "keep_from", "shallower_above"})
        app = from_environment(meter=RayMeter(), **how)
        app.add_middleware(BodyFirst)
        return app

    return ingress
