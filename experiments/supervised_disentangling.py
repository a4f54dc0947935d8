"""Supervised disentangling: convolutional DisenIB, images in [0, 1], swaps in pictures and in numbers."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import dataloader
from custom_pkg.compute import generator
from custom_pkg.files import write_atomically
from custom_pkg.pictures import animation, captioned, png
from custom_pkg.run_folder import RunFolder
from custom_pkg.run_log import RunLog
from custom_pkg.terminal import announced_bar
from dataloader import shapes, sprites
from dataloader.factors import Factors
from experiments.experiment import Loaded, where_float64_is
from experiments.option_groups import DisentanglingOptions, FactoredOptions
from modellib import disenib
from modellib.conv_networks import ARCHITECTURES
from modellib.evaluations import protocol
from modellib.evaluations.code_content import readable
from modellib.evaluations.common import encode, finite_outputs
from modellib.evaluations.dci import dci
from modellib.evaluations.digit_classifier import train_classifier
from modellib.evaluations.disentangling import digit_swaps, mean_images, nearest_truth, swap_error, swap_pairs
from modellib.evaluations.style import style_information
from modellib.gaussians import sample
from modellib.model import SwappingModel
from modellib.networks import FixedStdEncoder
from modellib.swap_pictures import interpolation, swap_grid

METRICS = ("accuracy", "information", "codes", "swaps")
ON_REQUEST = ("probes",)
N_SWAPS = 2000
N_READ = 10_000  # codes that classifiers are fitted on, and as many that they are tested on, at most
PICTURED = {"shapes": shapes.PICTURED, "sprites": sprites.PICTURED}  # the same in every picture; MNIST's are ours


def loader_of(name: str) -> Callable[[DisentanglingOptions, torch.device], Loaded]:
    """`Experiment.load` for the data set of that name. A test set without images is left out."""

    def load(options: DisentanglingOptions, device: torch.device) -> Loaded:
        factored = isinstance(options, FactoredOptions)
        choices = {"data_source": options.data_source, "holdout": options.holdout} if factored else {}
        data = dataloader.load(name, Path(options.data_root), **choices)
        sets = {
            which: (split.images.to(device), split.labels.to(device))
            for which, split in (("train", data.train), ("test", data.test)) if len(split.labels)
        }
        return Loaded(data, sets, {})

    return load


def model(data: dict, options: DisentanglingOptions) -> tuple[SwappingModel, disenib.Networks]:
    """The freshly initialised networks of a run on `data`, and the model that is evaluated."""
    networks = disenib.build_conv_networks(
        data["image_shape"][0], data["n_classes"], ARCHITECTURES[data["name"]], style_dim=options.style_dim,
        class_dim=options.class_dim, generator=generator(options.rand_seed, "networks"),
    )
    class_encoder = FixedStdEncoder(networks.class_encoder, options.class_std)
    style_encoder = FixedStdEncoder(networks.style_encoder, options.style_std)
    return SwappingModel(class_encoder, networks.decoder, style_encoder, "mean", networks.reconstructor), networks


def evaluate(
    model: SwappingModel, loaded: Loaded, *, options: DisentanglingOptions, metrics: Sequence[str] = METRICS,
    splits: Sequence[str] = protocol.SPLITS,
) -> dict[str, dict]:
    """All numbers of a run on the training set, and on what training never saw, where there is such a set."""
    model, loaded = where_float64_is(model, loaded)
    splits = [name for name in splits if name in loaded.sets]
    batch_size, device = options.eval_batch_size, loaded.sets["train"][0].device

    def random(*names: str) -> torch.Generator:
        return generator(options.rand_seed, "evaluation", *names, device=device)

    on = protocol.Evaluation(
        model.encoder, model.decoder, loaded.sets, {}, code=model.code, progress=announced_bar,
        settings=protocol.EvaluationSettings(batch_size=batch_size), generator=random,
    )
    found = {}
    with finite_outputs(*model.modules()):
        results = protocol.evaluate(on, splits=splits, metrics=[name for name in metrics if name in protocol.METRICS])
        for name in ("codes", "probes"):
            if name in metrics:
                found[name] = _read_codes(model, loaded, splits, batch_size, random, strongly=name == "probes")
        if "swaps" in metrics:
            found["swaps"] = _swap(model, loaded, splits, batch_size, random)
    for by_split in found.values():
        for name, result in by_split.items():
            results.setdefault(name, {}).update(result)
    return results


def _read_codes(
    model: SwappingModel, loaded: Loaded, splits: Sequence[str], batch_size: int, random: Callable, *, strongly: bool
) -> dict:
    """I(X;S), and what classifiers read off samples of both codes; strongly: what a network and forests (DCI) do.

    They never see the codes that they are tested on: for the test set they are fitted on the training set, for the
    training set on one half of it. For the label a style stays on one side in all classes: else every tested image has
    its like in the other half, always with another label, and what is read falls far below chance. For the factors it
    lies on both, as the question is whether a style's code is the same in all classes.
    """
    encoders = {"style": model.style_encoder, "class": model.encoder}
    codes = {
        (which, name): sample(
            *encode(encoder, loaded.sets[name][0], batch_size=batch_size), random("codes", which, name)
        )
        for which, encoder in encoders.items() for name in {"train", *splits}
    }
    n_train, n_classes = len(loaded.sets["train"][1]), loaded.data.n_classes
    by_image = halves(n_train, random("codes"))
    by_style = halves(n_train, random("codes by style"), n_classes) if loaded.data.factors else by_image
    results = {}
    for name in splits:
        images, labels = loaded.sets[name]

        def parted(parts: tuple[Tensor, Tensor], name=name, labels=labels) -> tuple[Tensor, Tensor]:
            """Rows of the training set to fit on, and of the set `name` to be tested on."""
            fit, test = parts if name == "train" else (torch.cat(parts), torch.arange(len(labels)))
            return fit[:N_READ], test[:N_READ]

        def read(
            key: str, code: str, targets: dict[str, Tensor], parts: tuple[Tensor, Tensor], name=name, parted=parted
        ) -> dict[str, float]:
            fit, test = parted(parts)
            return readable(
                key, codes[code, "train"][fit], targets["train"][fit], codes[code, name][test], targets[name][test],
                probes=("mlp_accuracy",) if strongly else ("accuracy", "knn_accuracy"),
            )

        announced_bar(f"what {'strong probes read off the codes' if strongly else 'the codes say'}, {name} set")
        by_set = {which: labels for which, (_, labels) in loaded.sets.items()}
        result: dict[str, Any] = {} if strongly else style_information(
            model.style_encoder, images, draw=partial(sample, generator=random("style", name)), batch_size=batch_size,
        )
        result |= read("style_to_label", "style", by_set, by_style) | read("class_to_label", "class", by_set, by_style)
        if strongly and loaded.data.factors:
            fit, test = parted(by_image)
            values = {which: getattr(loaded.data, which).factors for which in ("train", name)}
            result |= dci(
                {code: codes[code, "train"][fit] for code in encoders}, values["train"][fit],
                {code: codes[code, name][test] for code in encoders}, values[name][test],
            )
        for column, factor in enumerate(loaded.data.factors.names if loaded.data.factors and not strongly else ()):
            by_set = {which: getattr(loaded.data, which).factors[:, column] for which in protocol.SPLITS}
            if column and len(by_set["train"].unique()) > 1:  # the first one is the label
                for key, value in read("style_to_factor", "style", by_set, by_image).items():
                    result.setdefault(key, {})[factor] = value
        results[name] = result
    return results


def halves(n_images: int, shuffle: torch.Generator, n_classes: int = 1) -> tuple[Tensor, Tensor]:
    """The rows of two halves of a set, in any order; n_classes: they come class by class in the same styles, and a
    style stays in one half with all its classes.
    """
    n_styles = n_images // n_classes
    order = torch.randperm(n_styles, generator=shuffle, device=shuffle.device).cpu()
    first_of_class = torch.arange(n_classes) * n_styles
    first, second = ((half[:, None] + first_of_class).flatten() for half in order.chunk(2))
    return first, second


def _swap(model: SwappingModel, loaded: Loaded, splits: Sequence[str], batch_size: int, random: Callable) -> dict:
    """Swaps against the true images where factors are known; else they are digits, and a classifier judges them."""
    n_classes = loaded.data.n_classes
    images, labels = loaded.sets["train"]
    if loaded.data.factors:
        measure = partial(swap_error, class_means=mean_images(images, labels, n_classes))
    else:
        announced_bar("training the classifier that judges the swaps")
        classifier = train_classifier(images, labels, n_classes, generator=random("classifier"))
        measure = partial(digit_swaps, classifier=classifier)
    results = {}
    for name in splits:
        images, labels = loaded.sets[name]
        announced_bar(f"swaps, {name} set")
        style, _ = encode(model.style_encoder, images, batch_size=batch_size)
        rows, classes = swap_pairs(labels, n_classes, N_SWAPS, random("swaps", name))
        results[name] = measure(
            model.reconstructor, style=style, images=images, labels=labels, rows=rows, classes=classes,
            batch_size=batch_size,
        )
        if loaded.data.factors:
            factors = {which: getattr(loaded.data, which).factors.to(labels.device) for which in loaded.sets}
            found, wanted = nearest_truth(
                model.reconstructor, style, factors[name], rows, classes,
                torch.cat([loaded.sets[which][0] for which in factors]), torch.cat(list(factors.values())),
                batch_size=batch_size,
            )
            results[name] |= _seen(found, wanted, loaded.data.factors, factors["train"])
    return results


def _seen(found: Tensor, wanted: Tensor, factors: Factors, trained_on: Tensor) -> dict:
    """Shares of swaps that show the wanted class and style factors, and how far they are off in the ordered ones."""
    varying = [column for column in range(1, len(factors.names)) if len(trained_on[:, column].unique()) > 1]
    right = (found == wanted).double().mean(0)
    off = (found - wanted).abs().double().mean(0)
    return {
        "swap_shows_label": float(right[0]),
        "swap_shows_factor": {factors.names[column]: float(right[column]) for column in varying},
        "swap_factor_off": {
            factors.names[column]: float(off[column]) for column in varying if factors.names[column] in factors.ordered
        },
    }


class Pictures:
    """The pictures of a run: in its folder as PNG and GIF, and in TensorBoard."""

    def __init__(self, model: SwappingModel, loaded: Loaded, folder: RunFolder, options: DisentanglingOptions):
        self._model, self._loaded, self._folder, self._seed = model, loaded, folder, options.rand_seed
        data = loaded.data
        self._n, self._every = options.eval_dis_n_samples, options.freq_step_eval
        if (values := data.train.factors) is not None:
            self._fixed = torch.cat([
                (values == torch.tensor(wanted)).all(1).nonzero()[0] for wanted in PICTURED[data.name][: self._n]
            ])
        else:
            self._fixed = self._one_of_each("train", torch.arange(len(data.train.labels)))

    def on_the_way(self, log: RunLog, step: int) -> None:
        """Every freq_step_eval steps two swap grids: of other training images every time, and of the same ones."""
        if step % self._every:
            return
        order = torch.randperm(
            len(self._loaded.data.train.labels), generator=generator(self._seed, "pictures", step)
        )
        self._grid(log, step, "train", "train", self._one_of_each("train", order))
        self._grid(log, step, "fixed", "train", self._fixed)

    def at_the_end(self, log: RunLog, step: int) -> None:
        """A grid of images that training never saw, styles between two images, and the fixed grid over training."""
        last = "test" if "test" in self._loaded.sets else "train"
        order = torch.randperm(len(self._loaded.sets[last][1]), generator=generator(self._seed, "pictures at the end"))
        if last == "test":
            self._grid(log, step, "held-out", "test", self._one_of_each("test", order), numbered=False)
        images = self._loaded.sets[last][0][self._one_of_each(last, order)[:2]]
        styles, _ = encode(self._model.style_encoder, images, batch_size=2)
        self._save(
            log, step, "interpolation", "interpolation",
            interpolation(self._model.reconstructor, styles, self._loaded.data.n_classes, 10),
            "a row for every class, on the way from the style of one image to that of another", last,
        )
        frames = sorted(self._folder.pictures.glob("fixed-step*.png"))
        if frames:
            write_atomically(self._folder.pictures / "training.gif", animation(frames))

    def _one_of_each(self, name: str, order: Tensor) -> Tensor:
        """The rows of n images of a set, the first ones in `order` of class 0, 1, …, and again from 0 on.

        Of a class that has fewer, the same ones come again.
        """
        labels = self._loaded.sets[name][1].cpu()[order]
        of_class = [order[labels == label] for label in range(self._loaded.data.n_classes)]
        rows = [divmod(i, len(of_class)) for i in range(self._n)]
        return torch.stack([of_class[label][number % len(of_class[label])] for number, label in rows])

    def _grid(self, log: RunLog, step: int, kind: str, name: str, rows: Tensor, *, numbered: bool = True) -> None:
        images, labels = (part[rows.to(part.device)] for part in self._loaded.sets[name])
        style, _ = encode(self._model.style_encoder, images, batch_size=len(images))
        grid = swap_grid(self._model.reconstructor, style, images, labels)
        file = f"{kind}-step{step:06d}" if numbered else kind
        self._save(log, step, kind, file, grid, "the class is the column's, the style the row's", name)

    def _save(self, log: RunLog, step: int, kind: str, file: str, pixels: Tensor, what: str, name: str) -> None:
        data = self._loaded.data
        shown = {"train": "training images", "test": "images that training never saw"}[name]
        caption = [f"DisenIB on {data.name}, step {step:,}, seed {self._seed}: {what}.", f"{shown}: {data.source}"]
        array = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        picture = captioned(array, caption, scale=max(1, 640 // array.shape[1]))
        self._folder.pictures.mkdir(exist_ok=True)
        write_atomically(self._folder.pictures / f"{file}.png", png(picture))
        log.picture(f"pictures/{kind}", np.asarray(picture), step=step)
