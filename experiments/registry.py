"""The experiments by the names of their scripts, which checkpoints carry."""

from pathlib import Path

import torch

from custom_pkg.errors import UserError, first_line
from experiments import quantitative
from experiments import supervised_disentangling as disentangling
from experiments.experiment import Experiment
from modellib.evaluations import protocol
from modellib.model import Model

EXPERIMENTS = {
    "train_lagrangian": Experiment(
        quantitative.load, quantitative.lagrangian_model, quantitative.evaluate_published, protocol.METRICS
    ),
    "train_disenib": Experiment(
        quantitative.load, quantitative.disenib_model, quantitative.evaluate_published, protocol.METRICS
    ),
    **{
        f"train_disenib_{name}": Experiment(
            disentangling.loader_of(name), disentangling.model, disentangling.evaluate, disentangling.METRICS
        )
        for name in ("mnist", "shapes", "sprites")
    },
}


def model_of(saved: dict, path: Path) -> Model:
    """The model of a loaded checkpoint, built from its own options. Raises UserError."""
    try:
        build = EXPERIMENTS[saved["script"]].build
        with torch.device("meta"):  # in no memory at all: the options may claim any size
            _, claimed = build(saved["data"], saved["options"])
        for name, network in claimed._asdict().items():
            for key, tensor in network.state_dict().items():
                if tensor.shape != saved["state"][name][key].shape:
                    raise ValueError(f"{name}.{key} has another shape than its options say")
        model, networks = build(saved["data"], saved["options"])
        for name, network in networks._asdict().items():
            network.load_state_dict(saved["state"][name])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError, OverflowError) as error:
        raise UserError(f"{path} does not fit this code ({first_line(error)}): use the code that wrote it") from None
    return model
