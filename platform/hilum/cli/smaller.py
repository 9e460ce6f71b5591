"""`hilum model prune` and `hilum model export`: a network that is as small as its task allows, and leaves."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import RenderableType
from rich.table import Table

from hilum.cli.console import reply, table
from hilum.cli.options import Address, Json, On, StoreUrl

if TYPE_CHECKING:
    from hilum.steps.export import Export, Precision
    from hilum.store.layout import Store
    from hilum.store.manifest import Manifest

CheckpointId = Annotated[str, typer.Argument(metavar="CHECKPOINT", help="The checkpoint's id.")]
Pool = Annotated[
    str | None,
    typer.Option("--pool", metavar="ID", help="The pool whose split says who is held out, if the store has several."),
]
Tolerance = Annotated[
    float,
    typer.Option("--tolerance", metavar="SCORE", min=0, help="How much less than the deepest's the score may be."),
]
ForcedDepth = Annotated[
    int | None, typer.Option("--depth", metavar="N", min=1, help="Take this depth, whatever is recommended.")
]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", help="Draw score against latency here too: a .svg or a .png."),
]

To = Annotated[str, typer.Option("--to", metavar="FORMAT", help="onnx (onnxruntime runs it) or torch (a .pt2).")]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Where to put it; CHECKPOINT.onnx or CHECKPOINT.pt2 here if not given."),
]
Int8 = Annotated[
    bool, typer.Option("--int8", help="8-bit convolutions for CPUs; what that loses is measured and told.")
]
_ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}


def prune(
    checkpoint: CheckpointId,
    *,
    tolerance: Tolerance = 0.01,
    depth: ForcedDepth = None,
    store: StoreUrl = None,
    pool: Pool = None,
    plot: Plot = None,
    on: On = "local",
    address: Address = None,
    json_: Json = False,
) -> None:
    """Measure every depth of a UNet++ on validation patients and publish the shallowest that is as good.

    Costs are those of one CPU thread of this machine. The champion stays who it is.
    """
    from hilum.cli.chain import checked_id
    from hilum.cli.composition import engine, store_at
    from hilum.core.recipes import PruneRecipe
    from hilum.steps import prune as step
    from hilum.steps.held_out import of_checkpoint
    from hilum.store.manifest import Run

    opened = store_at(store)
    checked_id("checkpoint", opened.checkpoint(checkpoint))
    _check_plot(plot)
    recipe = PruneRecipe(tolerance=tolerance, depth=depth)
    inputs = {"checkpoint": checkpoint, **of_checkpoint(opened, checkpoint, pool_id=pool)}
    manifest = Run(opened, "prune", step.STEP_VERSION, recipe, inputs).finished()
    already_done = manifest is not None
    if manifest is None:
        ready = engine(on=on, address=address)
        manifest = step.run(recipe, inputs, store=opened, executor=ready.executor, resources=ready.resources)
    _tell(opened, manifest, already_done=already_done, plot=plot, at=f" --store {store}" if store else "", json_=json_)


def export(
    checkpoint: CheckpointId,
    *,
    to: To,
    out: Out = None,
    depth: ForcedDepth = None,
    int8: Int8 = False,
    store: StoreUrl = None,
    pool: Pool = None,
    json_: Json = False,
) -> None:
    """Write a checkpoint as one file that runs without hilum, checked against it image by image.

    The file takes normalised images of any number and size and answers with probabilities. With --int8
    the loss of score is measured on validation patients.
    """
    from hilum.cli.chain import checked_id
    from hilum.cli.composition import store_at
    from hilum.core.errors import RequestError
    from hilum.steps import export as step
    from hilum.steps.held_out import of_checkpoint, pool_if_known

    ending = _ENDINGS.get(to)
    if ending is None:
        raise RequestError(f"A checkpoint leaves as {' or '.join(_ENDINGS)}; --to {to} is neither.")
    if int8 and to != "onnx":
        raise RequestError("--int8 is for --to onnx: onnxruntime is what runs 8-bit models here.")
    opened = store_at(store)
    checked_id("checkpoint", opened.checkpoint(checkpoint))
    file = out or Path(checkpoint + (f"-depth{depth}" if depth else "") + ("-int8" if int8 else "") + ending)
    if file.suffix != ending:
        raise RequestError(f"A file for {to} ends in {ending}; --out {file} does not.")
    place = str(file.absolute())
    if int8:
        pool_id = of_checkpoint(opened, checkpoint, pool_id=pool)["pool"]
        made, rows, metric = step.export_int8(opened, checkpoint, file=place, pool_id=pool_id, depth=depth)
    else:
        pool_id_or_none = pool_if_known(opened, checkpoint, pool_id=pool)
        made = step.export(opened, checkpoint, to=_format(to), file=place, depth=depth, pool_id=pool_id_or_none)
        rows, metric = [], ""
    told: list[RenderableType] = [_checked(made, int8=int8)]
    if rows:
        told += [precision_table(rows, metric), _int8_verdict(rows)]
    data = {**asdict(made), "precisions": [asdict(row) for row in rows], "metric": metric or None}
    reply(json_, data, *told)


def _format(to: str) -> Literal["onnx", "torch"]:
    return "onnx" if to == "onnx" else "torch"


def _checked(made: "Export", *, int8: bool) -> str:
    images = f"{made.num_real_images} real images" if made.num_real_images else "noise only"
    what = images if int8 else f"{images}, odd sizes and several batches"
    return (
        f"{made.file}: {made.num_bytes:,} bytes; probabilities differ by at most {made.largest_difference:.2g} ({what})"
    )


def precision_table(rows: "list[Precision]", metric: str) -> Table:
    """float32 and int8 beside each other."""
    return table(
        "",
        ["precision", metric, "interval", "bytes", "ms"],
        [
            [
                row.precision,
                row.score,
                f"{row.low:.3f} to {row.high:.3f}",
                f"{row.num_bytes:,}",
                f"{row.latency_ms:.3g}",
            ]
            for row in rows
        ],
    )


def _int8_verdict(rows: "list[Precision]") -> str:
    """What int8 costs and gains, in words; where it gains nothing, that."""
    plain, small = rows
    speed, lost = plain.latency_ms / small.latency_ms, plain.score - small.score
    pace = f"{speed:.2f} × as fast" if speed > 1 else f"slower ({speed:.2f} × as fast): keep float32"
    return f"int8 is {pace}, {plain.num_bytes / small.num_bytes:.1f} × smaller, and scores {lost:.4f} less"


def _check_plot(plot: Path | None) -> None:
    from hilum.core.errors import RequestError
    from hilum.loop.report.depths import FORMATS

    if plot is not None and plot.suffix[1:].lower() not in FORMATS:
        raise RequestError(f"A plot is a .svg or a .png file; --plot {plot} is neither.")


def _tell(store: "Store", manifest: "Manifest", *, already_done: bool, plot: Path | None, at: str, json_: bool) -> None:
    from hilum.loop.report.depths import as_bytes, depths_figure
    from hilum.steps.prune import depth_rows
    from hilum.store.manifest import write_bytes

    rows, found = depth_rows(store, manifest.run_id), manifest.results
    files = [store.path("reports", f"prune-{manifest.run_id}.svg"), *([str(plot.absolute())] if plot else [])]
    figure = depths_figure(rows, metric=found["metric"], tolerance=manifest.recipe["tolerance"], depth=found["depth"])
    for file in files:
        write_bytes(file, as_bytes(figure, file.rpartition(".")[2].lower()))
    data = {"step": "prune", "run_id": manifest.run_id, "already_done": already_done, "plots": files, "depths": rows}
    reply(
        json_,
        {**data, "results": found},
        f"prune {manifest.run_id}: {'already done' if already_done else 'done'}",
        depths_table(rows, found["metric"]),
        _verdict(manifest),
        *[f"plot: {file}" for file in files],
        next_commands=_next(manifest, at),
        note="Latency: median of one patch, one CPU thread. Throughput: by CPU time. Memory: highest resident set of "
        "a process of its own, above what the loaded network holds.",
    )


def depths_table(rows: list[dict[str, Any]], metric: str) -> Table:
    """What every depth scores and costs, the deepest's latency and parameters being 1."""
    deepest = rows[-1]
    return table(
        "",
        [
            *("depth", metric, "interval", "parameters", "fewer", "GFLOP", "ms"),
            *("faster", "patches/s", "peak MiB"),
        ],
        [
            [
                row["depth"],
                row["score"],
                "-" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}",
                f"{row['num_parameters']:,}",
                _times(deepest["num_parameters"] / row["num_parameters"]),
                row["gflop"],
                f"{row['latency_ms']:.3g}",
                _times(deepest["latency_ms"] / row["latency_ms"]),
                f"{row['patches_per_second']:.4g}",
                "-" if row["peak_mib"] is None else f"{row['peak_mib']:.1f}",
            ]
            for row in rows
        ],
    )


def _verdict(manifest: "Manifest") -> str:
    found = manifest.results
    advice = f"recommended: depth {found['recommended']}, the shallowest within {manifest.recipe['tolerance']:g}"
    if found["depth"] == found["deepest"]:
        return f"{advice}; depth {found['depth']} is the checkpoint itself: {found['checkpoint']}"
    return f"{advice}; checkpoint of depth {found['depth']}: {found['checkpoint']}"


def _next(manifest: "Manifest", at: str) -> list[str]:
    checkpoint = manifest.results["checkpoint"]
    return [f"hilum model promote MODEL {checkpoint}{at}", f"hilum model export {checkpoint} --to onnx{at}"]


def _times(factor: float) -> str:
    return f"{factor:.2f} ×"


def register(group: typer.Typer) -> None:
    """Add these commands to `hilum model`."""
    group.command("prune", epilog="Example: hilum model prune 0a1b2c3d4e5f --tolerance 0.02")(prune)
    group.command("export", epilog="Example: hilum model export 0a1b2c3d4e5f --to onnx --out liver.onnx")(export)
