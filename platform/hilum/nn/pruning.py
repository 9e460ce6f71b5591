"""A nested network at less depth: which depths there are, the network at one of them, and its card.

A pruned network goes on padding as the deep one does (``pruned_from``), or images of
odd sizes would get other borders, and the answer would no longer be the deep network's head.
"""

from collections.abc import Mapping
from typing import Any

from hilum.core.errors import RecipeError
from hilum.nn.heads import Network


def depths_of(network: Network, card: Mapping[str, Any]) -> list[int]:
    """The depths at which this network can answer, shallowest first; RecipeError when it has but one."""
    kind = card["architecture"]["kind"]
    if card["question"] != "segment":
        raise RecipeError(
            f"This checkpoint answers the question '{card['question']}', with its encoder alone: there is no decoder "
            "to prune. Prune a checkpoint that segments."
        )
    body: Any = network.body
    heads = sorted(int(depth) for depth in getattr(body, "heads", ())) if hasattr(body, "prune") else []
    if not heads:
        raise RecipeError(
            f"A checkpoint of architecture '{kind}' cannot be pruned: it has no sub-networks that answer. "
            "Train with architecture: {kind: unetpp}."
        )
    if len(heads) == 1:
        raise RecipeError(
            f"This '{kind}' cannot be pruned: only its depth {heads[0]} has a head. Train one of more depth, "
            "with deep_supervision: true."
        )
    return heads


def prune_network(network: Network, card: Mapping[str, Any], depth: int) -> tuple[Network, dict[str, Any]]:
    """The network and the card of ``depth``; the deepest is what was given.

    A loss predictor reads levels that others have no more: they predict no loss.
    """
    depths = depths_of(network, card)
    if depth not in depths:
        raise RecipeError(f"Depth {depth} is not one of this checkpoint's: {', '.join(map(str, depths))}.")
    if depth == depths[-1]:
        return network, dict(card)
    body: Any = network.body.prune(depth)  # type: ignore[operator]
    architecture = {"kind": card["architecture"]["kind"], **body.params.model_dump(mode="json")}
    kept = {name: value for name, value in card.items() if name != "learning_loss"}
    return type(network)(body), {**kept, "architecture": architecture}
