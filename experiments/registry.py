"""The experiments by the names of their scripts, which checkpoints carry."""

import importlib
from pathlib import Path

import torch
from torch import nn

from custom_pkg.errors import UserError, first_line
from custom_pkg.options import RunOptions, from_dict
from experiments import quantitative
from experiments import supervised_disentangling as disentangling
from experiments.catalogue import with_disentangling
from experiments.experiment import Experiment
from modellib.evaluations import protocol
from modellib.model import Model, Networks

EXPERIMENTS = {
    "train_lagrangian": Experiment(
        quantitative.load, quantitative.lagrangian_model, quantitative.evaluate_published, protocol.METRICS
    ),
    "train_disenib": Experiment(
        quantitative.load, quantitative.disenib_model, quantitative.evaluate_published, protocol.METRICS,
        protocol.ON_REQUEST,
    ),
    **{
        f"train_disenib_{name}": Experiment(
            disentangling.loader_of(name), disentangling.model, disentangling.evaluate, disentangling.METRICS,
            disentangling.ON_REQUEST,
        )
        for name in with_disentangling()
    },
}


def evaluated(model: Model, networks: Networks) -> dict[str, nn.Module]:
    """Those of a run's networks that the evaluated model is made of, by name; others serve the training alone."""
    parts = {module for network in model.modules() for module in network.modules()}
    return {name: network for name, network in networks._asdict().items() if not parts.isdisjoint(network.modules())}


def restored(saved: dict, path: Path) -> tuple[RunOptions, Model, dict[str, nn.Module]]:
    """The options of a loaded checkpoint, as its script's own, the model built from them, and the networks that it is
    made of, by the checkpoint's names. Raises UserError.
    """
    try:
        build = EXPERIMENTS[saved["script"]].build
        options = from_dict(importlib.import_module(saved["script"]).Options, saved["options"])
        with torch.device("meta"):  # in no memory at all: the options may claim any size
            claimed = evaluated(*build(saved["data"], options))
        for name, network in claimed.items():
            for key, tensor in network.state_dict().items():
                if tensor.shape != saved["state"][name][key].shape:
                    raise ValueError(f"{name}.{key} has another shape than its options say")
        model, networks = build(saved["data"], options)
        networks = evaluated(model, networks)
        for name, network in networks.items():
            network.load_state_dict(saved["state"][name])
    except (
        UserError, KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError, OverflowError
    ) as error:
        raise UserError(f"{path} does not fit this code ({first_line(error)}): use the code that wrote it") from None
    return options, model, networks
