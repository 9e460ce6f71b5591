"""Pre-annotation on Ray Serve: ``serve run hilum_services.pre_annotation.serve:application``.

The replicas read the same ``HILUM_*`` environment as `hilum bridge --model` does; a new champion drafts from the next
request on, without a restart.
"""

from collections.abc import Mapping

from fastapi import FastAPI
from ray import serve

MOST_AT_ONCE = 8


def _ingress() -> FastAPI:
    from hilum_services.pre_annotation.app import from_environment

    return from_environment()


def application(environment: Mapping[str, str] | None = None) -> serve.Application:
    """The application for ``serve.run``, such as with ``route_prefix="/ml"``.

    ``environment`` is what the replicas' own lacks. Ray keeps it readable: a secret belongs into a file that
    ``HILUM_PRE_ANNOTATION_PASSWORD_FILE`` names.
    """
    replica = serve.deployment(
        serve.ingress(_ingress)(),
        name="pre-annotation",
        max_ongoing_requests=MOST_AT_ONCE,
        ray_actor_options={"runtime_env": {"env_vars": dict(environment or {})}},
    )
    return replica.bind()
