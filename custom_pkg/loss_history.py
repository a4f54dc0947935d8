"""The losses of every update since they were last logged, kept on the device so that no update waits for them."""

from pathlib import Path

import torch
from torch import Tensor

from custom_pkg.errors import RunFailed


class LossHistory:
    """Holds up to `capacity` rows of losses; `step` counts the updates of the whole run."""

    def __init__(self, names: tuple[str, ...], capacity: int, device: torch.device, what: str = "update"):
        """what: the name of one of these updates, for messages."""
        self.step = 0
        self._what = what
        self._names = names
        self._rows = torch.zeros(capacity, len(names), device=device)
        self._filled = 0

    def add(self, losses: Tensor) -> None:
        """Keep the losses (len(names),) of one more update."""
        self._rows[self._filled] = losses
        self._filled += 1
        self.step += 1

    def check_finite(self, last_good: Path) -> None:
        """Raise RunFailed naming the first update and term that is not finite, and the checkpoint that is."""
        bad = (~self._rows[: self._filled].isfinite()).nonzero()
        if len(bad):
            row, term = bad[0].tolist()
            raise RunFailed(
                f"{self._names[term]} became {self._rows[row, term].item()} in {self._what} "
                f"{self.step - self._filled + row + 1}: the run stops, {last_good} is as it was before; "
                "a smaller --learning_rate or smaller weights of the objective may help"
            )

    def means(self) -> dict[str, float]:
        """The mean of each term since the last call of `clear`."""
        return dict(zip(self._names, self._rows[: self._filled].cpu().double().mean(0).tolist(), strict=True))

    def clear(self) -> None:
        self._filled = 0

    def state_dict(self) -> dict:
        return {"step": self.step, "rows": self._rows[: self._filled].clone()}

    def load_state_dict(self, state: dict) -> None:
        self.step, self._filled = state["step"], len(state["rows"])
        self._rows[: self._filled] = state["rows"]
