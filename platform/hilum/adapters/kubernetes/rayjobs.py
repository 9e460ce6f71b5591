"""A command line as a RayJob, made from the template that the chart keeps in a ConfigMap.

The job's name comes from its words and settings, ``hilum-<verb>-<run>-<attempt>``: who submits the same while it runs
finds it. What has ended is begun again as the next attempt; the steps in it have the same run ids, so what is finished
is not done again.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hilum.adapters.kubernetes.connection import Cluster, refusal
from hilum.adapters.ray_jobs import entrypoint
from hilum.core.errors import NotFoundError, RequestError
from hilum.store.audit import ACTOR_VARIABLE

TEMPLATE = "hilum-rayjob-template"
TEMPLATE_KEY = "rayjob.yaml"
RUN_LABEL, ATTEMPT_LABEL = "hilum/run", "hilum/attempt"
MANAGED_LABEL = "app.kubernetes.io/managed-by"
WORDS_ANNOTATION = "hilum/words"
_ENDED = {"Complete", "Failed", "ValidationFailed"}
_KEPT_ATTEMPTS = 3

RayJob = dict[str, Any]


@dataclass(frozen=True)
class Command:
    """What is to be run: ``hilum WORDS…`` with these settings; no secret is among them."""

    words: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]

    @property
    def run(self) -> str:
        """The name of this command with these settings, whoever sends it: 12 hexadecimal digits."""
        settings = [setting for setting in self.environment if setting[0] != ACTOR_VARIABLE]
        return hashlib.sha256(json.dumps([self.words, settings]).encode()).hexdigest()[:12]

    def job_name(self, attempt: int) -> str:
        return f"hilum-{self.words[0]}-{self.run}-{attempt}"


def command_of(words: Sequence[str], environment: Mapping[str, str]) -> Command:
    return Command(tuple(words), tuple(sorted(environment.items())))


def submit(cluster: Cluster, command: Command, *, template: str) -> tuple[str, bool]:
    """The name of the job that runs the command, and whether it ran already: it is begun only if it does not run."""
    before = attempts(cluster, command)
    if before and not is_ended(before[-1]):
        return name_of(before[-1]), True
    attempt = _attempt(before[-1]) + 1 if before else 1
    document = filled(_template(cluster, template), command, attempt)
    already = _create(cluster, document)
    for old in before[: -(_KEPT_ATTEMPTS - 1)]:
        _forget(cluster, name_of(old))
    return name_of(document), already


def attempts(cluster: Cluster, command: Command) -> list[RayJob]:
    """The jobs of this command that are there, the last one last."""
    from kubernetes.client import ApiException

    doing = "list RayJobs"
    try:
        found = cluster.ask(
            cluster.objects.list_namespaced_custom_object,
            **cluster.rayjobs,
            label_selector=f"{RUN_LABEL}={command.run}",
            doing=doing,
        )
    except ApiException as error:
        if error.status == 404:
            raise RequestError(
                f"The cluster at {cluster.address} knows no RayJobs. Install KubeRay there, or name another --context."
            ) from None
        raise refusal(error, cluster, doing) from None
    return sorted(found["items"], key=_attempt)


def job(cluster: Cluster, name: str) -> RayJob:
    """A job as it is now; NotFoundError if there is none of this name."""
    return job_and_version(cluster, name)[0]


def job_and_version(cluster: Cluster, name: str) -> tuple[RayJob, str]:
    """A job as it is now, and the version from which a watch sees what happens next.

    That is not the job's own version: an API server that was started since knows no changes from before, and refuses.
    """
    from kubernetes.client import ApiException

    doing = f"read RayJob {name}"
    missing = NotFoundError(f"Namespace {cluster.namespace} has no RayJob {name}: it was deleted, or never was.")
    try:
        found = cluster.ask(
            cluster.objects.list_namespaced_custom_object,
            **cluster.rayjobs,
            field_selector=f"metadata.name={name}",
            doing=doing,
        )
    except ApiException as error:
        raise (missing if error.status == 404 else refusal(error, cluster, doing)) from None
    if not found["items"]:
        raise missing
    return found["items"][0], found["metadata"]["resourceVersion"]


def filled(template: RayJob, command: Command, attempt: int) -> RayJob:
    """The template as the job of a command."""
    import yaml

    metadata = dict(template.get("metadata") or {})
    metadata["name"] = command.job_name(attempt)
    metadata.pop("namespace", None)
    metadata["labels"] = {
        **(metadata.get("labels") or {}),
        MANAGED_LABEL: "hilum",  # the template is Helm's, the job is not
        RUN_LABEL: command.run,
        ATTEMPT_LABEL: str(attempt),
    }
    metadata["annotations"] = {**(metadata.get("annotations") or {}), WORDS_ANNOTATION: json.dumps(command.words)}
    # KubeRay puts it into a container's command, where Kubernetes replaces $(NAME).
    spec = {**template["spec"], "entrypoint": entrypoint(command.words).replace("$(", "$$(")}
    if command.environment:
        spec["runtimeEnvYAML"] = yaml.safe_dump({"env_vars": dict(command.environment)}, sort_keys=True)
    return {**template, "metadata": metadata, "spec": spec}


def is_ended(job: RayJob) -> bool:
    return _status(job).get("jobDeploymentStatus") in _ENDED


def name_of(job: RayJob) -> str:
    return str(job["metadata"]["name"])


def command_in(job: RayJob) -> Command:
    """The command that a job was made of; RequestError for a job that `hilum submit` did not make."""
    import yaml

    try:
        words = json.loads(job["metadata"]["annotations"][WORDS_ANNOTATION])
    except (KeyError, TypeError, ValueError):
        raise RequestError(f"RayJob {name_of(job)} was not made by `hilum submit --to k8s`.") from None
    settings = yaml.safe_load(job["spec"].get("runtimeEnvYAML") or "") or {}
    return command_of(words, settings.get("env_vars", {}))


def _create(cluster: Cluster, document: RayJob) -> bool:
    """Whether it was there already: somebody submitted the same at the same time."""
    from kubernetes.client import ApiException

    doing = f"create RayJob {name_of(document)}"
    try:
        cluster.ask(
            cluster.objects.create_namespaced_custom_object,
            **cluster.rayjobs,
            body=document,
            field_manager="hilum",
            doing=doing,
        )
    except ApiException as error:
        if error.status != 409:
            raise refusal(error, cluster, doing) from None
        return True
    return False


def _forget(cluster: Cluster, name: str) -> None:
    from kubernetes.client import ApiException

    doing = f"delete RayJob {name}"
    try:
        cluster.ask(
            cluster.objects.delete_namespaced_custom_object,
            **cluster.rayjobs,
            name=name,
            propagation_policy="Background",
            doing=doing,
        )
    except ApiException as error:
        if error.status != 404:
            raise refusal(error, cluster, doing) from None


def _template(cluster: Cluster, name: str) -> RayJob:
    import yaml
    from kubernetes.client import ApiException

    try:
        kept = cluster.ask(
            cluster.core.read_namespaced_config_map,
            name=name,
            namespace=cluster.namespace,
            doing=f"read ConfigMap {name}",
        )
        template = yaml.safe_load(kept.data[TEMPLATE_KEY])
    except ApiException:
        raise NotFoundError(
            f"Namespace {cluster.namespace} has no ConfigMap {name}. Install the chart there (jobs.enabled), or say "
            "where it is: --namespace, --template."
        ) from None
    except (KeyError, TypeError, yaml.YAMLError):
        template = None
    if not isinstance(template, dict) or template.get("kind") != "RayJob" or "spec" not in template:
        raise RequestError(f"ConfigMap {name} in namespace {cluster.namespace} has no RayJob under '{TEMPLATE_KEY}'.")
    return template


def _attempt(job: RayJob) -> int:
    told = (job["metadata"].get("labels") or {}).get(ATTEMPT_LABEL, "0")
    return int(told) if told.isdigit() else 0


def _status(job: RayJob) -> dict[str, Any]:
    return job.get("status") or {}
