"""What a plan must know of this machine and of networks: memory, and how much of it a training step takes."""

from hilum.core.fingerprint import Fingerprint
from hilum.core.geometry import Zyx
from hilum.core.recipes import Choice, FinetuneRecipe, Question
from hilum.loop.plan_files import parsed_memory
from hilum.loop.planning import Memory, StepBytes
from hilum.nn import memory


def at_hand(given: str | None) -> Memory:
    """The memory that ``--memory`` names, or this machine's."""
    return Memory(parsed_memory(given), "--memory") if given is not None else Memory(*memory.memory_at_hand())


def step_bytes(fingerprint: Fingerprint) -> StepBytes:
    """Bytes of a training step on these images."""

    def needed(question: Question, architecture: str, patch_zyx: Zyx, depth: int, together: int) -> int:
        recipe = FinetuneRecipe(
            architecture=Choice(kind=architecture, depth=depth), batch_size=2 * together, num_chunks=2
        )
        return memory.step_bytes(
            question,
            recipe,
            patch_zyx,
            in_channels=fingerprint.num_channels[0],
            num_classes=len(fingerprint.class_names),
        )

    return needed
