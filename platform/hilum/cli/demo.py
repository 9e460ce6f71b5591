"""`hilum demo`: a whole campaign on real images with one command, active against random."""

from typing import Annotated, Any

import typer
from rich.console import Console

from hilum.cli.console import reply
from hilum.cli.options import Address, Json, On
from hilum.core.errors import RequestError, unknown_name

TITLE = "hilum: asking for the labels that matter"

DataSet = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="SET",
        help="packaged (no download), mednist, msd_hippocampus or adrenalmnist3d.",
    ),
]
DemoStore = Annotated[str, typer.Option("--store", metavar="FOLDER", help="The folder it is done in; made if need be.")]
Quick = Annotated[bool, typer.Option("--quick", help="Two rounds of one seed: to see that everything turns.")]


def demo(
    *,
    data: DataSet = "packaged",
    store: DemoStore = "demo",
    quick: Quick = False,
    on: On = "local",
    address: Address = None,
    json_: Json = False,
) -> None:
    """Run a campaign on real images, compare it with asking at random, and write a report.

    Stopped at any moment, the same command goes on; when it is done, it shows what came of it.
    """
    from hilum.cli.demonstrations import DEMONSTRATIONS, demonstrate
    from hilum.loop.simulate import simulation_of
    from hilum.store.layout import exists, is_local
    from hilum.store.opening import create_store

    if data not in DEMONSTRATIONS:
        raise RequestError(unknown_name("demo data set", data, DEMONSTRATIONS))
    if not is_local(store):
        raise RequestError(f"The demo needs a folder on this machine; given '{store}'.")
    opened, _ = create_store(store)
    said = Console(stderr=True, highlight=False, soft_wrap=True)
    done = [
        demonstrate(opened, one, quick=quick, on=on, address=address, say=lambda text: said.print(f"[dim]{text}[/]"))
        for one in DEMONSTRATIONS[data]
    ]
    manifests = [manifest for manifest, _ in done]
    already_done = all(before for _, before in done)
    report = opened.path("report-quick.html" if quick else "report.html")
    if not already_done or not exists(report):
        _write_report(opened, data, manifests, report)
    comparisons = [simulation_of(manifest).comparison for manifest in manifests]
    _tell(json_, comparisons, manifests, report, store, already_done=already_done)


def _write_report(opened: Any, data: str, manifests: list[Any], report: str) -> None:
    from hilum.cli.demonstrations import DEMONSTRATIONS, report_section
    from hilum.loop.report import write_report

    found = zip(DEMONSTRATIONS[data], manifests, strict=True)
    write_report(report, [report_section(opened, one, manifest) for one, manifest in found], title=TITLE)


def _tell(
    json_: bool, comparisons: list[Any], manifests: list[Any], report: str, store: str, *, already_done: bool
) -> None:
    from hilum.loop.findings import findings
    from hilum.loop.report import summary_table

    lines: list[Any] = ["demo: already done" if already_done else "demo: done"]
    for manifest, comparison in zip(manifests, comparisons, strict=True):
        lines += ["", summary_table(comparison, title=manifest.inputs["name"])]
    lines += ["", f"Report: {report}"]
    campaign = next(iter(manifests[0].results["branches"]))["campaign"]
    following = [
        f"xdg-open {report}",
        f"hilum round log {campaign} --store {store}",
        "hilum init ./mine && hilum ingest YOUR_FOLDER --store ./mine",
    ]
    simulations = [
        {"name": manifest.inputs["name"], "run_id": manifest.run_id, "headline": findings(comparison).headline}
        | {"winner": findings(comparison).winner, "results": manifest.results}
        for manifest, comparison in zip(manifests, comparisons, strict=True)
    ]
    document = {"already_done": already_done, "report": report, "simulations": simulations}
    reply(json_, document, *lines, next_commands=following)
