"""`hilum submit --to k8s`: a command as a RayJob, sent again when it was lost with its head."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hilum.cli.boundary import DONE, INTERRUPTED
from hilum.cli.console import reply, whisper
from hilum.core.errors import HilumError, RequestError

if TYPE_CHECKING:
    from hilum.adapters.kubernetes import rayjobs
    from hilum.adapters.kubernetes.connection import Cluster

_FIRST_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Sent:
    """What is sent where; ``job`` instead of words follows one that was sent before."""

    words: tuple[str, ...]
    environment: Mapping[str, str]
    job: str | None
    namespace: str | None
    template: str
    context: str | None
    attempts: int


def settings_sent(store: str | None) -> dict[str, str]:
    """What a job is told of here; its pods know the chart's store and all secrets."""
    from hilum.store.audit import ACTOR_VARIABLE, current_actor

    settings = {ACTOR_VARIABLE: current_actor()}
    settings |= {name: os.environ[name] for name in ("HILUM_DEBUG",) if name in os.environ}
    if store:
        from hilum.store.layout import is_local

        if is_local(store) and not store.startswith("/"):
            raise RequestError(
                f"'{store}' is a folder of this machine, which no pod sees. Leave out --store (and HILUM_STORE) for "
                "the chart's own store, or give one such as s3://bucket/prefix or /store/liver."
            )
        settings["HILUM_STORE"] = store
    return settings


def to_kubernetes(sent: Sent, *, follow: bool, json_: bool) -> int:
    """Send it, or find it running already; follow it and return its exit code."""
    from hilum.adapters.kubernetes import connection, rayjobs

    cluster = connection.connect(namespace=sent.namespace, context=sent.context)
    # An address that nobody answers is told at once; one that answered is waited for.
    hasty = replace(cluster, patience_seconds=_FIRST_PATIENCE_SECONDS)
    if sent.job:
        name, command = sent.job, rayjobs.command_in(rayjobs.job(hasty, sent.job))
    else:
        command = rayjobs.command_of(sent.words, sent.environment)
        name, already = rayjobs.submit(hasty, command, template=sent.template)
        whisper(f"job {name}{': it runs already' if already else ''}")
    if not follow:
        told = {"job_id": name, "namespace": cluster.namespace}
        reply(json_, told, f"job {name}: submitted", next_commands=[_again(sent, cluster, name)])
        return DONE
    return _followed(sent, cluster, command, name, json_=json_)


def _followed(sent: Sent, cluster: "Cluster", command: "rayjobs.Command", name: str, *, json_: bool) -> int:
    from hilum.adapters.kubernetes import following, rayjobs

    for begun in range(1, sent.attempts + 1):
        try:
            end = following.follow(cluster, name, _show)
        except KeyboardInterrupt:
            again = _again(sent, cluster, name)
            reply(json_, {"job_id": name, "exit_code": None}, f"job {name} goes on.", next_commands=[again])
            return INTERRUPTED
        if end.exit_code is not None:
            how = "done" if end.exit_code == DONE else f"ended with exit code {end.exit_code}"
            reply(json_, {"job_id": name, "exit_code": end.exit_code, "attempts": begun}, f"job {name}: {how}")
            return end.exit_code
        if begun < sent.attempts:
            lost = name
            name, _ = rayjobs.submit(cluster, command, template=sent.template)
            whisper(f"job {lost} was lost ({end.reason}); it goes on as {name}")
    raise HilumError(
        f"Job {name} was lost with its head {sent.attempts} times, lastly: {end.reason}. What was finished is kept; "
        "the same command goes on from there."
    )


def _again(sent: Sent, cluster: "Cluster", name: str) -> str:
    where = f" --namespace {cluster.namespace}" + (f" --context {sent.context}" if sent.context else "")
    return f"hilum submit --to k8s --job {name}{where}"


def _show(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
