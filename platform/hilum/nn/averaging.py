"""The running mean of a vector of weights (EMA): smoother than its last value."""

from torch import Tensor


class RunningMean:
    """A step moves the mean by 1 − ``decay`` of its way to the weights; early on by more, to forget the first ones."""

    def __init__(self, vector: Tensor, *, decay: float) -> None:
        self.decay = decay
        self.mean = vector.detach().clone()

    def follow(self, vector: Tensor, *, num_steps: int) -> None:
        """Take in the weights after ``num_steps`` steps."""
        decay = min(self.decay, (1 + num_steps) / (10 + num_steps))
        self.mean.lerp_(vector, 1 - decay)
