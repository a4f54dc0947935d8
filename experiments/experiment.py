"""What an experiment is: where its data come from, its networks, and how they are evaluated."""

import copy
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from dataloader import ImageDataset
from modellib.model import Model, Networks

M = TypeVar("M", bound=Model)
Sets = dict[str, tuple[Tensor, Tensor]]  # "train", "test" -> images as the networks take them, labels (N,)
Outside = dict[str, Tensor | None]  # name -> images (M, D), or None for noise of that name


class Loaded(NamedTuple):
    """The data of a run, on its device."""

    data: ImageDataset
    sets: Sets
    outside: Outside


@dataclass(frozen=True)
class Experiment:
    """One script's.

    load: (options, device) -> Loaded. Raises UserError.
    build: (data.record(), options) -> the model that is evaluated and its freshly initialised networks.
    evaluate: (model, loaded, *, options, metrics, splits) -> {"train": {...}, "test": {...}, ...}.
    metrics: the families that `evaluate` computes unless told otherwise. on_request: others that it knows.
    """

    load: Callable[..., Loaded]
    build: Callable[..., tuple[Model, Networks]]
    evaluate: Callable[..., dict[str, dict]]
    metrics: Collection[str]
    on_request: Collection[str] = ()


def where_float64_is(model: M, loaded: Loaded) -> tuple[M, Loaded]:
    """The same, on the CPU in place of a device of Apple's: it has no float64, which the exact metrics need."""
    images = next(iter(loaded.sets.values()))[0]
    if images.device.type != "mps":
        return model, loaded
    cpu = torch.device("cpu")
    sets = {name: (images.to(cpu), labels.to(cpu)) for name, (images, labels) in loaded.sets.items()}
    outside = {name: images if images is None else images.to(cpu) for name, images in loaded.outside.items()}
    return copy.deepcopy(model).to(cpu), Loaded(loaded.data, sets, outside)
