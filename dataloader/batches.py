"""Batches of indices: shuffled, in passes over a data set, to be stopped and continued at any batch."""

from collections.abc import Iterator

import torch
from torch import Tensor


class ShuffledBatches:
    """Shuffles `n` items anew for every pass and cuts them into batches; the last partial batch is dropped.

    A pass that is broken off goes on where it stopped, also in another process (`state_dict`, `load_state_dict`).
    """

    def __init__(self, n: int, batch_size: int, generator: torch.Generator, device: torch.device | str = "cpu"):
        """device: where the indices are handed out; the generator is one of the CPU."""
        self.per_pass = n // batch_size
        self.position = 0  # batches of the current pass handed out
        self._n, self._batch_size, self._generator, self._device = n, batch_size, generator, device
        self._order: Tensor | None = None  # None between passes

    def one_pass(self) -> Iterator[Tensor]:
        """The batches left of the current pass, or of a new one: index tensors (batch_size,)."""
        if self._order is None:
            self._order, self.position = torch.randperm(self._n, generator=self._generator), 0
        order = self._order.to(self._device)
        while self.position < self.per_pass:
            start = self.position * self._batch_size
            self.position += 1  # before the hand-over: a state taken while the batch is used counts it as used
            yield order[start : start + self._batch_size]
        self._order, self.position = None, 0

    def endless(self) -> Iterator[Tensor]:
        """Pass after pass."""
        while True:
            yield from self.one_pass()

    def state_dict(self) -> dict:
        return {"order": self._order, "position": self.position, "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict) -> None:
        order, position = state["order"], state["position"]
        whole = order is None or torch.equal(order.sort().values, torch.arange(self._n))
        if not whole or not 0 <= position <= self.per_pass:
            raise ValueError("the order of the batches is not one of this data set")
        self._order, self.position = order, position
        self._generator.set_state(state["generator"])
