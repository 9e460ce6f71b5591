"""`hilum model canary`, `shadow` and `settle`: a challenger beside the champion of a model that is served."""

from typing import Annotated

import typer

from hilum.cli.console import reply
from hilum.cli.model import CheckpointId, Name
from hilum.cli.options import Json, StoreUrl

Share = Annotated[float, typer.Option("--share", help="The share of requests that it answers, above 0 and up to 1.")]


def register(group: typer.Typer) -> None:
    """Put the commands into `hilum model`."""
    group.command("canary", epilog="Example: hilum model canary liver 0a1b2c3d4e5f --share 0.1")(canary)
    group.command("shadow", epilog="Example: hilum model shadow liver 0a1b2c3d4e5f")(shadow)
    group.command("settle", epilog="Example: hilum model settle liver")(settle)


def canary(
    model: Name, checkpoint: CheckpointId, share: Share = 0.1, store: StoreUrl = None, json_: Json = False
) -> None:
    """Have a share of a model's requests answered by another checkpoint; its version is in every such answer."""
    from hilum.cli.chain import checked_id
    from hilum.cli.composition import ledger_of, store_at
    from hilum.loop.answering.routes import send_to_canary

    opened = store_at(store)
    checked_id("checkpoint", opened.checkpoint(checkpoint))
    send_to_canary(opened, ledger_of(opened), model, checkpoint, share)
    data = {"model": model, "canary": checkpoint, "share": share}
    following = [f"hilum model promote {model} {checkpoint}", f"hilum model settle {model}"]
    reply(json_, data, f"{share:.0%} of requests to {model}: {checkpoint}", next_commands=following)


def shadow(model: Name, checkpoint: CheckpointId, store: StoreUrl = None, json_: Json = False) -> None:
    """Have a checkpoint answer every request too; answers are compared (`hilum_inference_shadow_agreement`)."""
    from hilum.cli.chain import checked_id
    from hilum.cli.composition import ledger_of, store_at
    from hilum.loop.answering.routes import compare_in_shadow

    opened = store_at(store)
    checked_id("checkpoint", opened.checkpoint(checkpoint))
    compare_in_shadow(ledger_of(opened), model, checkpoint)
    reply(json_, {"model": model, "shadow": checkpoint}, f"shadow of {model}: {checkpoint}")


def settle(model: Name, store: StoreUrl = None, json_: Json = False) -> None:
    """The champion answers alone again."""
    from hilum.cli.composition import ledger_of, store_at
    from hilum.loop.answering.routes import settle as end

    opened = store_at(store)
    ended = end(opened, ledger_of(opened), model)
    reply(json_, {"model": model, "ended": ended}, f"{model}: {' and '.join(ended) or 'nothing'} ended")
