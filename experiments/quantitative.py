"""The quantitative comparison: fully connected models, flat images in [-1, 1], the published metrics."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dataloader
from custom_pkg.compute import generator
from custom_pkg.errors import UserError
from custom_pkg.pictures import scatter
from custom_pkg.run_log import RunLog
from custom_pkg.terminal import announced_bar
from dataloader import DATASETS
from experiments.catalogue import published_on
from experiments.experiment import Loaded, Outside, where_float64_is
from experiments.option_groups import ComparisonOptions
from modellib import disenib, ib_lagrangian
from modellib.evaluations.common import encode, finite_outputs
from modellib.evaluations.protocol import METRICS, NOISES, SPLITS, Evaluation, EvaluationSettings, evaluate
from modellib.model import Model, SwappingModel
from modellib.networks import FixedStdEncoder


def load(options: ComparisonOptions, device: torch.device) -> Loaded:
    """The data set of a run's options, flat, and what lies outside of it. Raises UserError."""
    data_root = Path(options.data_root)
    check_outside(options.eval_odin_out_data, options.dataset)
    data = dataloader.load(options.dataset, data_root)
    held_out = None
    if options.held_out_classes:
        data, held_out = data.without(options.held_out_classes)
    sets = {
        name: (split.flat().to(device), split.labels.to(device))
        for name, split in (("train", data.train), ("test", data.test))
    }
    outside = load_outside(options.eval_odin_out_data, data, data_root, device)
    if held_out is not None:
        outside["held_out"] = held_out.flatten(1).mul(2).sub_(1).to(device)
    return Loaded(data, sets, outside)


def check_outside(names: Sequence[str], dataset: str) -> None:
    """Raise UserError for a data set that cannot lie outside this one: before any of them is fetched."""
    for name in names:
        if name not in NOISES and (name == dataset or DATASETS[name].side != DATASETS[dataset].side):
            raise UserError(
                f"--eval_odin_out_data={name}: must be another data set than {dataset}, with images of the same size"
            )


def load_outside(
    names: tuple[str, ...], data: dataloader.ImageDataset, data_root: Path, device: torch.device
) -> Outside:
    """The outside sets for detection: test images of another data set, as many as `data` has; None stands for noise."""
    n = len(data.test.labels)
    return {
        name: None if name in NOISES else dataloader.load(name, data_root).test.flat()[:n].to(device) for name in names
    }


def lagrangian_model(data: dict, options: Any) -> tuple[Model, ib_lagrangian.LagrangianNetworks]:
    """The model that is evaluated and its freshly initialised networks, by the options of train_lagrangian.py."""
    record = ib_lagrangian.MODELS[options.model]
    input_dim, random = torch.Size(data["image_shape"]).numel(), generator(options.rand_seed, "networks")
    networks = record.build(input_dim, data["n_classes"], options, random)
    return Model(networks.encoder, networks.decoder, None, record.code), networks


def disenib_model(data: dict, options: Any) -> tuple[Model, disenib.Networks]:
    """The model that is evaluated and its freshly initialised networks, by the options of train_disenib.py."""
    networks = disenib.build_networks(
        torch.Size(data["image_shape"]).numel(), data["n_classes"], style_dim=options.style_dim,
        class_dim=options.class_dim, enc_hidden_dims=options.enc_hidden_dims, dec_hidden_dims=options.dec_hidden_dims,
        rec_hidden_dims=options.rec_hidden_dims, spectral_norm=options.spectral_norm,
        generator=generator(options.rand_seed, "networks"),
    )
    class_encoder = FixedStdEncoder(networks.class_encoder, options.class_std)
    style_encoder = FixedStdEncoder(networks.style_encoder, options.style_std)
    return SwappingModel(class_encoder, networks.decoder, style_encoder, "mean", networks.reconstructor), networks


def evaluate_published(
    model: Model, loaded: Loaded, *, options: ComparisonOptions, metrics: Collection[str] = METRICS,
    splits: Sequence[str] = SPLITS,
) -> dict[str, dict]:
    """The published protocol with the evaluation settings and the seed of a run's `options`."""
    model, loaded = where_float64_is(model, loaded)
    device = loaded.sets["test"][0].device
    on = Evaluation(
        model.encoder, model.decoder, loaded.sets, loaded.outside, style_encoder=model.style_encoder, code=model.code,
        progress=announced_bar,
        settings=EvaluationSettings(
            batch_size=options.eval_batch_size, attack_epsilons=options.eval_attack_epsilons,
            odin_temperature=options.eval_odin_temperature, odin_epsilon=options.eval_odin_epsilon,
        ),
        generator=lambda *names: generator(options.rand_seed, "evaluation", *names, device=device),
    )
    with finite_outputs(*model.modules()):
        return evaluate(on, metrics=metrics, splits=splits)


def in_the_plane(found: dict[str, float]) -> tuple[float, float]:
    """I(X;T) and I(Y;T) of a set, of that code whose informations are published for the model."""
    suffix = "_mean_code" if "mi_xt_mean_code" in found else ""
    return found.get(f"mi_xt{suffix}", found.get("mi_xt_deterministic", 0.0)), found[f"mi_yt{suffix}"]


def show(log: RunLog, model: Model, loaded: Loaded, results: dict[str, dict], *, step: int, batch_size: int) -> None:
    """In TensorBoard: where the model lies in the information plane, and a histogram of the stds of its test codes,
    but not of DisenIB's, which are an option.
    """
    train, test = results["train"], results["test"]
    paper = [in_the_plane(figures["test"]) for figures in published_on(loaded.data.name).values()]
    groups = [
        *([("the paper's models, test set", "lightgrey", paper)] if paper else []),
        ("training set", "#0072B2", [in_the_plane(train)]), ("test set", "#D55E00", [in_the_plane(test)]),
    ]
    plane = scatter(
        groups, axes=("I(X;T), nats, to its ceiling log N", "I(Y;T), nats, to its ceiling H(Y)"),
        ends=(train["mi_xt_ceiling"], train["mi_yt_ceiling"]),
    )
    log.picture("pictures/information-plane", np.asarray(plane), step=step)
    if not isinstance(model, SwappingModel):
        mean, std = encode(model.encoder, loaded.sets["test"][0], batch_size=batch_size)
        log.histogram("codes/std", std.expand_as(mean).cpu().numpy(), step=step)
