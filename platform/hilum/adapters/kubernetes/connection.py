"""The Kubernetes API of a kubeconfig, or of the pod we are in: asked with bounds, and its refusals in one sentence."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hilum.core.errors import HilumError, NotFoundError, RequestError

TIMEOUT_SECONDS = (10, 60)
"""To connect, and between two parts of an answer."""

PATIENCE_SECONDS = 120.0
_LONGEST_PAUSE_SECONDS = 10.0
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_PASSING = {429, 500, 502, 503, 504}
_RAYJOBS = {"group": "ray.io", "version": "v1", "plural": "rayjobs"}

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Cluster:
    """A namespace of a Kubernetes cluster. ``patience_seconds`` is how long an API that is away is asked again."""

    client: Any
    namespace: str
    patience_seconds: float = PATIENCE_SECONDS
    address: str = field(default="")

    @property
    def core(self) -> Any:
        from kubernetes.client import CoreV1Api

        return CoreV1Api(self.client)

    @property
    def objects(self) -> Any:
        from kubernetes.client import CustomObjectsApi

        return CustomObjectsApi(self.client)

    @property
    def rayjobs(self) -> dict[str, str]:
        """Where RayJobs are, as the calls of `objects` want it."""
        return {**_RAYJOBS, "namespace": self.namespace}

    def ask(self, call: Callable[..., Answer], /, *arguments: Any, doing: str, **more: Any) -> Answer:
        """What the API answers. Asked again while it is away or busy, for ``patience_seconds``.

        ``doing`` is what is tried, such as "create RayJob x". RequestError or NotFoundError for a refusal, ApiException
        with status 404 or 409 as it is: the caller knows what that means.
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        began, pause = time.monotonic(), 0.2
        while True:
            try:
                return call(*arguments, _request_timeout=TIMEOUT_SECONDS, **more)
            except ApiException as error:
                if error.status in {404, 409}:
                    raise
                if not error.status:  # TLS failed: the client gives it no number
                    raise self.away(error) from None
                if error.status not in _PASSING or self._out_of_patience(began):
                    raise refusal(error, self, doing) from None
            except HTTPError as error:
                if self._out_of_patience(began):
                    raise self.away(error) from None
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def away(self, error: Exception) -> HilumError:
        reason = "its certificate is not trusted" if "CERTIFICATE" in str(error).upper() else "it does not answer"
        return RequestError(
            f"The Kubernetes API at {self.address} cannot be asked: {reason}. Is it the right context "
            "(`kubectl config current-context`, --context), and can it be reached from here?"
        )

    def _out_of_patience(self, began: float) -> bool:
        return time.monotonic() - began >= self.patience_seconds


def connect(*, namespace: str | None, context: str | None, patience_seconds: float = PATIENCE_SECONDS) -> Cluster:
    """The cluster that KUBECONFIG (``~/.kube/config``) names, or the one this pod runs in."""
    try:
        from kubernetes import client, config
    except ImportError:
        raise RequestError("Submitting to Kubernetes needs its client: pip install 'hilum[k8s]'.") from None

    configuration = client.Configuration()
    file = _kubeconfig()
    try:
        if file is None:
            config.load_incluster_config(client_configuration=configuration)
            usual = _OWN_NAMESPACE.read_text(encoding="utf-8").strip()
        else:
            config.load_kube_config(config_file=file, context=context, client_configuration=configuration)
            usual = _namespace_of(config.list_kube_config_contexts(config_file=file), context)
    except (config.ConfigException, OSError, ValueError, TypeError) as error:
        raise RequestError(
            f"No Kubernetes cluster is configured: {_first_line(error)} Set KUBECONFIG, or give --context one of your "
            "kubeconfig's."
        ) from None
    configuration.retries = False  # `ask` does it, and says so
    return Cluster(
        client.ApiClient(configuration),
        namespace or usual,
        patience_seconds=patience_seconds,
        address=configuration.host,
    )


def refusal(error: Any, cluster: Cluster, doing: str) -> HilumError:
    """An answer of the API that is an error, for whoever must act."""
    told = _message(error)
    match error.status:
        case 401:
            return RequestError(f"The Kubernetes API at {cluster.address} does not know you: sign in again ({told}).")
        case 403:
            return RequestError(f"You may not {doing} in namespace {cluster.namespace}: {told}")
        case 404:
            return NotFoundError(f"Cannot {doing} in namespace {cluster.namespace}: {told}")
        case 400 | 422:
            return RequestError(f"Kubernetes refuses to {doing}: {told}")
    return HilumError(f"The Kubernetes API at {cluster.address} failed to {doing} ({error.status}): {told}")


def _kubeconfig() -> str | None:
    """The user's kubeconfig; None in a pod that has none, which asks as its service account."""
    given = os.environ.get("KUBECONFIG", "")
    usual = Path("~/.kube/config").expanduser()
    if given or usual.is_file() or "KUBERNETES_SERVICE_HOST" not in os.environ:
        return given or str(usual)
    return None


def _namespace_of(known: tuple[list[dict[str, Any]], dict[str, Any]], context: str | None) -> str:
    """The namespace that a context names."""
    contexts, active = known
    chosen = next((one for one in contexts if one["name"] == context), active)
    return str(chosen["context"].get("namespace") or "default")


def _message(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason or "no reason given")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{lines[0].rstrip('.')}." if lines else ""
