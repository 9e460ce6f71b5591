"""Stochastic gradient descent with Nesterov's momentum on one vector of weights: nnU-Net's rule."""

import torch
from torch import Tensor

_MOMENTUM = 0.99


class Sgd:
    """A vector's velocity. Decay is added to the gradient, as torch does."""

    moments = ("velocity",)

    def __init__(self, vector: Tensor, *, weight_decay: float) -> None:
        self.vector = vector
        self.weight_decay = weight_decay
        self.num_steps = 0
        self.velocity = torch.zeros_like(vector)

    def step(self, gradient: Tensor, *, learning_rate: float) -> None:
        """Move the vector, in place."""
        self.num_steps += 1
        decayed = gradient + self.weight_decay * self.vector
        self.velocity.mul_(_MOMENTUM).add_(decayed)
        self.vector.add_(decayed.add_(self.velocity, alpha=_MOMENTUM), alpha=-learning_rate)
