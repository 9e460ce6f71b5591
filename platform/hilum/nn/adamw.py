"""AdamW on one vector of weights (https://arxiv.org/abs/1711.05101).

torch's own optimizers load torch's compiler at their first step, which costs every new
process seconds; on a single vector the rule is four lines.
"""

import torch
from torch import Tensor

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


class AdamW:
    """The running means of a vector's gradient and of its square, and how many steps they are of."""

    moments = ("mean", "mean_square")

    def __init__(self, vector: Tensor, *, weight_decay: float) -> None:
        self.vector = vector
        self.weight_decay = weight_decay
        self.num_steps = 0
        self.mean = torch.zeros_like(vector)
        self.mean_square = torch.zeros_like(vector)

    def step(self, gradient: Tensor, *, learning_rate: float) -> None:
        """Move the vector, in place."""
        self.num_steps += 1
        self.mean.lerp_(gradient, 1 - _BETA_1)
        self.mean_square.mul_(_BETA_2).addcmul_(gradient, gradient, value=1 - _BETA_2)
        unbiased = self.mean / (1 - _BETA_1**self.num_steps)
        scale = (self.mean_square / (1 - _BETA_2**self.num_steps)).sqrt_().add_(_EPSILON)
        self.vector.mul_(1 - learning_rate * self.weight_decay).addcdiv_(unbiased, scale, value=-learning_rate)
