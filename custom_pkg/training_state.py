"""Everything that must survive for a run to go on as if it had never stopped."""

from dataclasses import asdict, fields

import torch


class DataclassState:
    """A base for dataclasses of plain values that are part of a training state."""

    def state_dict(self) -> dict:
        return asdict(self)

    def load_state_dict(self, state: dict) -> None:
        for field in fields(self):
            setattr(self, field.name, state[field.name])


class TrainingState:
    """Named parts (networks, optimisers, batch streams, counters: anything with `state_dict`) and generators."""

    def __init__(self, parts: dict, generators: dict[str, torch.Generator]):
        self._parts, self._generators = parts, generators

    def state_dict(self) -> dict:
        return {
            **{name: part.state_dict() for name, part in self._parts.items()},
            "generators": {name: generator.get_state() for name, generator in self._generators.items()},
        }

    def load_state_dict(self, state: dict) -> None:
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        for name, generator in self._generators.items():
            generator.set_state(state["generators"][name])
