"""`hilum submit`: any other command, as a Ray Job on a named cluster or as a RayJob of Kubernetes."""

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from hilum.cli.boundary import DONE, INTERRUPTED
from hilum.cli.console import reply
from hilum.cli.options import Json, StoreUrl
from hilum.core.errors import RequestError, unknown_name

SENT_SETTINGS = ("HILUM_DATA_MIRROR", "HILUM_DEBUG")
"""Settings a job gets from here, besides the store. The ledger's URL may hold a password: the cluster has its own."""

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="VERB ARGS...", help="The command to run there, as you would type it after `hilum`."),
]
DashboardAddress = Annotated[
    str,
    typer.Option("--address", metavar="URL", envvar="RAY_DASHBOARD_ADDRESS", help="The cluster's dashboard."),
]
WorkingDir = Annotated[
    Path | None,
    typer.Option("--working-dir", help="A folder to send along, such as the one that holds your recipe files."),
]


class Where(StrEnum):
    """What runs the job."""

    RAY = "ray"
    K8S = "k8s"


To = Annotated[Where, typer.Option("--to", help="ray: a running Ray cluster; k8s: a RayJob of the chart's template.")]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", metavar="NAME", help="With --to k8s: the chart's; the context's if not given."),
]
Template = Annotated[
    str,
    typer.Option(
        "--template", metavar="NAME", help="With --to k8s: the ConfigMap in which the chart keeps the template."
    ),
]
KubeContext = Annotated[
    str | None, typer.Option("--context", metavar="NAME", help="With --to k8s: a context of your kubeconfig.")
]
Attempts = Annotated[
    int,
    typer.Option(
        "--attempts", min=1, max=20, help="With --to k8s: how often a job is begun that is lost with its head."
    ),
]
Follow = Annotated[bool, typer.Option("--follow/--no-follow", help="Show the job's log until it ends.")]
Job = Annotated[str | None, typer.Option("--job", metavar="ID", help="Follow a job that was submitted before.")]


def submit(
    context: typer.Context,
    words: Words = None,
    *,
    to: To = Where.RAY,
    address: DashboardAddress = "http://127.0.0.1:8265",
    working_dir: WorkingDir = None,
    namespace: Namespace = None,
    template: Template = "hilum-rayjob-template",
    kube_context: KubeContext = None,
    attempts: Attempts = 3,
    store: StoreUrl = None,
    follow: Follow = True,
    job: Job = None,
    json_: Json = False,
) -> None:
    """Run a command as a Ray Job on a cluster, follow its log, and end with its exit code.

    Ctrl-C stops following; the job goes on. Put -- before the command if its options are also submit's.
    """
    command = [*(words or []), *context.args]
    _check(context, command, job)
    _check_options(context, to)
    if to is Where.K8S:
        from hilum.cli.submit_kubernetes import Sent, settings_sent, to_kubernetes

        sent = Sent(tuple(command), settings_sent(store), job, namespace, template, kube_context, attempts)
        raise SystemExit(to_kubernetes(sent, follow=follow, json_=json_))
    _to_ray(command, address, working_dir, store, follow=follow, job=job, json_=json_)


def _to_ray(
    command: Sequence[str],
    address: str,
    working_dir: Path | None,
    store: str | None,
    *,
    follow: bool,
    job: str | None,
    json_: bool,
) -> None:
    from hilum.adapters import ray_jobs

    client = ray_jobs.connect(address)
    job_id = job or ray_jobs.submit(client, command, environment=_environment(store), working_dir=working_dir)
    again = f"hilum submit --job {job_id} --address {address}"
    if not follow:
        reply(json_, {"job_id": job_id, "address": address}, f"job {job_id}: submitted", next_commands=[again])
        return
    # Not typer.Exit: its 130 would be told as Ctrl-C of work that was done here.
    raise SystemExit(_followed(client, job_id, again, json_))


def _followed(client: Any, job_id: str, again: str, json_: bool) -> int:
    from hilum.adapters import ray_jobs

    try:
        _show(f"job {job_id}\n")
        code = ray_jobs.follow(client, job_id, _show)
    except KeyboardInterrupt:
        reply(json_, {"job_id": job_id, "exit_code": None}, f"job {job_id} goes on.", next_commands=[again])
        return INTERRUPTED
    ended = "done" if code == DONE else f"ended with exit code {code}"
    reply(json_, {"job_id": job_id, "exit_code": code}, f"job {job_id}: {ended}")
    return code


def _show(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _check(context: typer.Context, command: Sequence[str], job: str | None) -> None:
    """A misspelt verb is told here, not minutes later in a job's log."""
    if job and command:
        raise RequestError("Give a command to submit or --job to follow one that was submitted, not both.")
    if job:
        return
    if not command:
        raise RequestError("Say which command to submit, such as: hilum submit campaign run liver --address URL.")
    verbs = getattr(context.find_root().command, "commands", {})
    if command[0] not in verbs:
        raise RequestError(unknown_name("command", command[0], verbs))


def _check_options(context: typer.Context, to: Where) -> None:
    """An option of the other place is told, not passed over."""
    others = {
        Where.RAY: ("namespace", "template", "kube_context", "attempts"),
        Where.K8S: ("address", "working_dir"),
    }
    for name in others[to]:
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE":
            option = {"kube_context": "context"}.get(name, name.replace("_", "-"))
            hint = " Recipe files get there by the chart's value `recipes`." if name == "working_dir" else ""
            raise RequestError(f"--{option} means nothing with --to {to}.{hint}")


def _environment(store: str | None) -> dict[str, str]:
    from hilum.store.audit import ACTOR_VARIABLE, current_actor

    # On the cluster every job runs as the same user: the log there names who submitted it.
    environment = {ACTOR_VARIABLE: current_actor()}
    environment |= {name: os.environ[name] for name in SENT_SETTINGS if name in os.environ}
    if store:
        from hilum.store.layout import is_local

        # The job's working folder is not ours: a local store is named from the root.
        environment["HILUM_STORE"] = str(Path(store).resolve()) if is_local(store) else store
    return environment
