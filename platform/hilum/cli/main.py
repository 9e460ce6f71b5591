"""The command line: every group's commands under one name, inside the error boundary."""

import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

from hilum.cli import (
    anomaly,
    api_keys,
    audit,
    backup,
    bridge,
    calibrate,
    compare_pretraining,
    data,
    demo,
    identity,
    importing,
    label,
    label_studio,
    look,
    measure,
    metrics,
    model,
    plan,
    predict,
    pretrain,
    recipe,
    rounds,
    routes,
    serve,
    simulate,
    smaller,
    steps,
    store,
    submit,
    tune,
    why,
)
from hilum.cli.boundary import run_guarded
from hilum.nn.kept_memory import keep_freed_memory, pass_on

HELP = """Ask for the labels worth a radiologist's time.

A campaign spends an annotation budget in rounds: score a pool of images, select a few, ask
people, train, keep the new model if it is not worse. `hilum demo` shows one on real images.
"""

ORDER = (
    *("demo", "init", "data", "ingest", "look", "plan", "recipe"),
    *("campaign", "round", "simulate", "tune", "submit"),
    *("pretrain", "compare-pretraining"),
    *("ask", "pool", "score", "select", "why", "label", "finetune", "evaluate", "promote"),
    *("bridge", "serve", "predict", "metrics"),
    *("model", "measure", "doctor", "audit", "backup", "restore", "whois"),
)


class InOrder(TyperGroup):
    """Commands and groups in the order in which one needs them."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Every name, as ORDER has it."""
        return sorted(super().list_commands(ctx), key=ORDER.index)


app = typer.Typer(
    name="hilum",
    cls=InOrder,
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done, 2 your request, 3 waiting for people, 4 our fault.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"hilum {version('hilum')}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    pass


START, CAMPAIGN, STEPS, CARE = "Begin", "A campaign", "One step at a time", "Look after"

app.command("demo", rich_help_panel=START, epilog="Example: hilum demo --data mednist --store ./demo")(demo.demo)
app.command("init", rich_help_panel=START, epilog="Example: hilum init ./demo")(store.init)
app.command("ingest", rich_help_panel=START, epilog="Example: hilum ingest scans/ --recipe msd-hippocampus")(
    store.ingest
)
app.command("look", rich_help_panel=START, epilog="Example: hilum look --out look.png")(look.look)
app.command("plan", rich_help_panel=START, epilog="Example: hilum plan --memory 8GiB --out liver.yaml")(plan.plan)
app.add_typer(data.group, name="data", rich_help_panel=START)
app.add_typer(recipe.group, name="recipe", rich_help_panel=START)

app.add_typer(rounds.campaign_group, name="campaign", rich_help_panel=CAMPAIGN)
app.add_typer(rounds.round_group, name="round", rich_help_panel=CAMPAIGN)
app.command("simulate", rich_help_panel=CAMPAIGN, epilog="Example: hilum simulate mednist --seeds 0,1,2")(
    simulate.simulate
)
app.command("tune", rich_help_panel=CAMPAIGN, epilog="Example: hilum tune sweep.yaml --out tuned.yaml")(tune.tune)
app.command(
    "submit",
    rich_help_panel=CAMPAIGN,
    epilog="Example: hilum submit campaign run liver --store s3://bucket/liver --address http://host:8265",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(submit.submit)

app.command("pretrain", rich_help_panel=STEPS, epilog="Example: hilum pretrain genesis-brain-mr --store ./demo")(
    pretrain.pretrain
)
app.command(
    "compare-pretraining",
    rich_help_panel=CAMPAIGN,
    epilog="Example: hilum compare-pretraining compare-small --data sets/ --store ./compared",
)(compare_pretraining.compare_pretraining)
steps.register_asking(app, panel=STEPS)
app.command("why", rich_help_panel=STEPS, epilog=f"Example: hilum why {steps.ID} --out why.png")(why.why)
label_studio.register(label.group)
app.add_typer(label.group, name="label", rich_help_panel=STEPS)
steps.register_learning(app, panel=STEPS)

app.command("bridge", rich_help_panel=CARE, epilog="Example: hilum bridge --store ./liver --model liver")(bridge.bridge)

api_keys.register(serve.group)
app.add_typer(serve.group, name="serve", rich_help_panel=CARE)
app.command("metrics", rich_help_panel=CARE, epilog="Example: hilum metrics --store ./liver")(metrics.metrics)
app.command(
    "predict", rich_help_panel=CARE, epilog="Example: hilum predict brain.nii.gz --model liver --store ./liver"
)(predict.predict)

routes.register(model.group)
smaller.register(model.group)
model.group.command(
    "import",
    epilog="Example: hilum model import encoder.onnx --licence Apache-2.0",
)(importing.import_)
model.group.command("anomaly", epilog=f"Example: hilum model anomaly {steps.ID} --volume {steps.ID} --out map.nii.gz")(
    anomaly.anomaly
)
model.group.command("calibrate", epilog="Example: hilum model calibrate liver")(calibrate.calibrate)
app.add_typer(model.group, name="model", rich_help_panel=CARE)
app.command("measure", rich_help_panel=CARE, epilog="Example: hilum measure mask.nii.gz --image scan.nii.gz")(
    measure.measure
)
app.command("doctor", rich_help_panel=CARE, epilog="Example: hilum doctor --rebuild")(store.doctor)
app.add_typer(audit.group, name="audit", rich_help_panel=CARE)
app.add_typer(backup.group, name="backup", rich_help_panel=CARE)
app.command("restore", rich_help_panel=CARE, epilog="Example: hilum restore --from s3://vault/liver --to ./liver")(
    backup.restore
)
app.command("whois", rich_help_panel=CARE, epilog="Example: hilum whois 3f2a9c0b11de --mapping ~/private/people.hilum")(
    identity.whois
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (the process's own if none is given) and return its exit code."""
    command = get_command(app)

    def invoke(words: list[str]) -> object:
        from hilum.adapters.telemetry import begin

        begin()
        return command.main(words, prog_name="hilum", standalone_mode=False)

    return run_guarded(invoke, sys.argv[1:] if arguments is None else arguments)


def entry() -> NoReturn:
    """The `hilum` process from its first word to its last."""
    keep_freed_memory()
    pass_on()
    leave(main())


def leave(code: int) -> NoReturn:
    """End this process as Python does (threads joined, exit functions called, streams flushed) but one thing.

    The interpreter is not taken apart: threads of tensorstore, Arrow and Ray outlive it, and
    one that woke meanwhile has aborted a command that had done its work.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
