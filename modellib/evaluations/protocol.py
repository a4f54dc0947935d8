"""The published protocol: all metrics of a trained model, as they stand in evaluation.json."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from modellib.evaluations.accuracy import accuracy
from modellib.evaluations.adversarial_robustness import fgsm
from modellib.evaluations.common import Decoder, Draw, Encoder, Progress, mean_code
from modellib.evaluations.information import information
from modellib.evaluations.out_of_distribution import (
    detection_curves,
    detection_metrics,
    noise_images,
    odin_scores,
)
from modellib.evaluations.style import label_from_style, style_information
from modellib.gaussians import sample

METRICS = ("accuracy", "information", "attack", "detection")
SPLITS = ("train", "test")
NOISES = ("gauss", "uniform")


@dataclass(frozen=True)
class EvaluationSettings:
    """Steps are for images in [-1, 1]. Without attack and detection, the batch size is enough."""

    batch_size: int
    attack_epsilons: Sequence[float] = ()
    odin_temperature: float | None = None
    odin_epsilon: float | None = None


def evaluate(
    encoder: Encoder,
    decoder: Decoder,
    sets: dict[str, tuple[Tensor, Tensor]],
    outside: dict[str, Tensor | None],
    *,
    settings: EvaluationSettings,
    generator: Callable[..., torch.Generator],
    style_encoder: Encoder | None = None,
    code: str = "sample",
    splits: Sequence[str] = SPLITS,
    metrics: Sequence[str] = METRICS,
    progress: Callable[[str], Progress] = lambda what: iter,
) -> dict[str, dict]:
    """Evaluate `metrics` on those of `sets`, SPLITS -> images (N, ...), labels (N,), that are named in `splits`.

    outside: name -> images (M, ...), or None for noise of that name (NOISES); detection holds them against the test
    set. generator(*names) makes the generator of one use, so that a metric is the same whatever else is asked for.
    progress(what) wraps the loop over batches.
    code: what attacks and detection see, a fresh "sample" every time (published for VIB and NIB) or the "mean"
    (published for DisenIB; the informations of the mean code then stand beside those of a sample).
    style_encoder: of DisenIB, for what its style code says.
    Returns {"train": {...}, "test": {...}, "ood": {outside name: {...}}}, fractions of 1 and nats, and with detection
    "ood_curves": {outside name: `detection_curves`}.
    """

    def drawing(*names: str) -> Draw:
        return mean_code if code == "mean" else partial(sample, generator=generator(*names))

    results: dict[str, dict] = {}
    for name in splits:
        images, labels = sets[name]
        result = results[name] = {}
        model_and_data = (encoder, decoder, images, labels)
        if "accuracy" in metrics:
            result |= accuracy(
                *model_and_data, generator=generator("accuracy", name), batch_size=settings.batch_size,
                progress=progress(f"accuracy, {name} set"),
            )
        if "information" in metrics:
            measure = partial(information, *model_and_data, batch_size=settings.batch_size)
            result |= measure(
                draw=partial(sample, generator=generator("information", name)),
                progress=progress(f"information, {name} set"),
            )
            if code == "mean":
                of_mean = measure(draw=mean_code, progress=progress(f"information of the mean code, {name} set"))
                keys = ("mi_xt", "mi_yt", "mi_yt_lower_bound")
                result |= {f"{key}_mean_code": of_mean[key] for key in keys if key in of_mean}
        if "information" in metrics and style_encoder is not None:
            result |= style_information(
                style_encoder, images, draw=partial(sample, generator=generator("style", name)),
                batch_size=settings.batch_size, progress=progress(f"information of the style code, {name} set"),
            )
        if "attack" in metrics and settings.attack_epsilons:
            for attack, key in (("negative_logit", "fgsm"), ("cross_entropy", "fgsm_cross_entropy")):
                result[key], result[f"{key}_robust_accuracy"] = fgsm(
                    *model_and_data, attack=attack, epsilons=settings.attack_epsilons,
                    draw=drawing(key, name), batch_size=settings.batch_size,
                    progress=progress(f"FGSM on {attack.replace('_', ' ')}, {name} set"),
                )
    if "information" in metrics and style_encoder is not None and "test" in splits:
        results["test"] |= label_from_style(
            style_encoder, sets["train"], sets["test"], draw=partial(sample, generator=generator("label from style")),
            batch_size=settings.batch_size,
        )
    if "detection" in metrics and "test" in splits:
        inside = sets["test"][0]
        odin = partial(
            odin_scores, encoder, decoder, temperature=settings.odin_temperature, epsilon=settings.odin_epsilon,
            batch_size=settings.batch_size,
        )
        inside_scores = odin(inside, draw=drawing("odin", "inside"), progress=progress("ODIN, test set"))
        results |= {"ood": {}, "ood_curves": {}}
        for name, images in outside.items():
            if images is None:
                images = noise_images(name, inside, generator("noise images", name))
            scores = odin(images, draw=drawing("odin", name), progress=progress(f"ODIN, {name}"))
            results["ood"][name] = detection_metrics(inside_scores, scores)
            results["ood_curves"][name] = detection_curves(inside_scores, scores)
    return {name: result for name, result in results.items() if result}
