"""The published protocol: all metrics of a trained model, as they stand in evaluation.json."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from custom_pkg.compute import GlobalGenerators
from modellib.evaluations.accuracy import accuracy
from modellib.evaluations.adversarial_robustness import fgsm
from modellib.evaluations.calibration import calibration
from modellib.evaluations.common import Decoder, Draw, Encoder, Progress, encode, mean_code
from modellib.evaluations.information import information
from modellib.evaluations.out_of_distribution import (
    class_statistics,
    detection_curves,
    detection_metrics,
    noise_images,
    odin_scores,
    plain_scores,
)
from modellib.evaluations.style import label_from_code, style_information
from modellib.gaussians import sample

SPLITS = ("train", "test")
NOISES = ("gauss", "uniform")


@dataclass(frozen=True)
class EvaluationSettings:
    """Steps are for images in [-1, 1]. By default nothing is attacked, and ODIN is the plain softmax."""

    batch_size: int
    attack_epsilons: Sequence[float] = ()
    odin_temperature: float = 1.0
    odin_epsilon: float = 0.0


@dataclass(frozen=True)
class Evaluation:
    """A trained model and its data, as a metric sees them.

    sets: of SPLITS, images (N, ...) and labels (N,). outside: name -> images (M, ...), or None for noise of that name
    (NOISES); detection holds them against the test set.
    generator(*names) makes the generator of one use, so that a metric is the same whatever else is asked for.
    progress(what) wraps the loop over batches.
    code: what attacks and detection see, a fresh "sample" every time (published for VIB and NIB) or the "mean"
    (published for DisenIB; the informations of the mean code then stand beside those of a sample).
    style_encoder: of DisenIB, for what its style code says.
    """

    encoder: Encoder
    decoder: Decoder
    sets: dict[str, tuple[Tensor, Tensor]]
    outside: dict[str, Tensor | None]
    settings: EvaluationSettings
    generator: Callable[..., torch.Generator]
    style_encoder: Encoder | None = None
    code: str = "sample"
    progress: Callable[[str], Progress] = lambda what: iter

    def drawing(self, *names: str) -> Draw:
        """What attacks and detection take for the code."""
        return mean_code if self.code == "mean" else self.sampling(*names)

    def sampling(self, *names: str) -> Draw:
        return partial(sample, generator=self.generator(*names))

    def measure(self, metric: Callable, split: str, what: str, **keywords) -> dict:
        """One of the functions of this folder on a set; what: for the bar."""
        return metric(
            self.encoder, self.decoder, *self.sets[split], batch_size=self.settings.batch_size,
            progress=self.progress(f"{what}, {split} set"), **keywords,
        )


def _accuracy(on: Evaluation, split: str) -> dict[str, dict]:
    return {split: on.measure(accuracy, split, "accuracy", generator=on.generator("accuracy", split))}


def _information(on: Evaluation, split: str) -> dict[str, dict]:
    result = on.measure(information, split, "information", draw=on.sampling("information", split))
    if on.code == "mean":
        of_mean = on.measure(information, split, "information of the mean code", draw=mean_code)
        keys = ("mi_xt", "mi_yt", "mi_yt_lower_bound")
        result |= {f"{key}_mean_code": of_mean[key] for key in keys if key in of_mean}
    if on.style_encoder is not None:
        result |= style_information(
            on.style_encoder, on.sets[split][0], draw=on.sampling("style", split), batch_size=on.settings.batch_size,
            progress=on.progress(f"information of the style code, {split} set"),
        )
    return {split: result}


def _attack(on: Evaluation, split: str) -> dict[str, dict]:
    if not on.settings.attack_epsilons:
        return {}
    result = {}
    for attack, key in (("negative_logit", "fgsm"), ("cross_entropy", "fgsm_cross_entropy")):
        result[key], result[f"{key}_robust_accuracy"] = on.measure(
            fgsm, split, f"FGSM on {attack.replace('_', ' ')}", attack=attack, epsilons=on.settings.attack_epsilons,
            draw=on.drawing(key, split),
        )
    return {split: result}


def _calibration(on: Evaluation, split: str) -> dict[str, dict]:
    result = {}
    for suffix, draw in (("", on.sampling("calibration", split)), ("_mean_code", mean_code)):
        found = on.measure(calibration, split, "calibration", draw=draw)
        result[f"calibration_error{suffix}"], result[f"reliability{suffix}"] = found
    return {split: result}


def _probes(on: Evaluation, split: str) -> dict[str, dict]:
    """What stronger probes than that of the information read off both codes of DisenIB."""
    if split != "test" or on.style_encoder is None:
        return {}
    result = {}
    for name, encoder in (("style", on.style_encoder), ("class", on.encoder)):
        result |= label_from_code(
            f"{name}_to_label", encoder, on.sets["train"], on.sets["test"], draw=on.sampling(f"label from {name}"),
            batch_size=on.settings.batch_size, probes=("accuracy", "knn_accuracy", "mlp_accuracy"),
        )
    return {split: result}


def _detection(on: Evaluation, split: str) -> dict[str, dict]:
    """Of what lies outside, against the test set."""
    if split != "test":
        return {}
    inside = on.sets[split][0]
    codes, _ = encode(on.encoder, on.sets["train"][0], batch_size=on.settings.batch_size)
    plain = partial(
        plain_scores, on.encoder, on.decoder, statistics=class_statistics(codes, on.sets["train"][1]),
        batch_size=on.settings.batch_size,
    )
    inside_plain, inside_std = plain(inside, draw=on.drawing("scores", "inside"))
    odin = partial(
        odin_scores, on.encoder, on.decoder, temperature=on.settings.odin_temperature,
        epsilon=on.settings.odin_epsilon, batch_size=on.settings.batch_size,
    )
    inside_scores = odin(inside, draw=on.drawing("odin", "inside"), progress=on.progress("ODIN, test set"))
    metrics, curves = {}, {}
    for name, images in on.outside.items():
        if images is None:
            images = noise_images(name, inside, on.generator("noise images", name))
        scores = odin(images, draw=on.drawing("odin", name), progress=on.progress(f"ODIN, {name}"))
        metrics[name] = detection_metrics(inside_scores, scores)
        curves[name] = detection_curves(inside_scores, scores)
        others, metrics[name]["encoder_std"] = plain(images, draw=on.drawing("scores", name))
        by_score = {key: detection_metrics(inside_plain[key], score) for key, score in others.items()}
        for metric in ("fpr_at_95_tpr", "auroc"):
            metrics[name][f"{metric}_by"] = {key: found[metric] for key, found in by_score.items()}
    return {"ood": metrics, "ood_curves": curves, "test": {"encoder_std": inside_std}}


# Name -> (evaluation, split) -> what it adds to the results: {split: {...}}, or sections of its own.
METRICS: dict[str, Callable[[Evaluation, str], dict[str, dict]]] = {
    "accuracy": _accuracy, "information": _information, "attack": _attack, "detection": _detection,
    "calibration": _calibration,
}
ON_REQUEST = {"probes": _probes}  # half a minute or more: not part of every evaluation


def evaluate(
    on: Evaluation, *, splits: Sequence[str] = SPLITS, metrics: Collection[str] = METRICS
) -> dict[str, dict]:
    """Evaluate the METRICS, or ON_REQUEST, that are named in `metrics` on the sets that are named in `splits`.

    Returns {"train": {...}, "test": {...}, "ood": {outside name: {...}}}, fractions of 1 and nats, and with detection
    "ood_curves": {outside name: `detection_curves`}. The global generators of the CPU and of the
    sets' device stay where they were.
    """
    results: dict[str, dict] = {}
    drawn = GlobalGenerators(next(iter(on.sets.values()))[0].device)
    before = drawn.get_state()
    try:
        for split in splits:
            for name, metric in (METRICS | ON_REQUEST).items():
                drawn.seed(on.generator("global", name, split).initial_seed() % 2**32)  # for a user's own layers
                for section, found in metric(on, split).items() if name in metrics else ():
                    results.setdefault(section, {}).update(found)
        if "information" in metrics and on.style_encoder is not None and "test" in splits:
            results["test"] |= label_from_code(
                "style_to_label", on.style_encoder, on.sets["train"], on.sets["test"],
                draw=on.sampling("label from style"), batch_size=on.settings.batch_size,
            )
    finally:
        drawn.set_state(before)
    return {section: found for section, found in results.items() if found}
