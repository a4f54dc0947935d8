"""Robust accuracy in the worst case over a set of attacks, and the signs that gradients are merely hidden.

An image counts by the share of fresh draws in which its worst adversarial image is classified correctly: 0 or 1 for
the mean code. The worst is chosen by some draws and counted by others, which no attack and no choice has seen. What
an attack found at a smaller epsilon lies in the larger ball too and stays a candidate there, as does the clean image.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from modellib.evaluations.attacks import ATTACKS, Attack, Search, Target, adversarial, apgd, cross_entropy, margin
from modellib.evaluations.common import Progress, evaluation_mode

EPSILONS = (0.1, 0.2, 0.3)
CURVE_EPSILONS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0)
CURVE = Attack(partial(apgd, loss=margin, steps=20), "white", 21)
State = dict[str, Tensor]  # "attack epsilon" -> (2, N): the share of draws an image was chosen and counted by


def robustness(
    target: Target,
    images: Tensor,
    labels: Tensor,
    *,
    generator: Callable[..., torch.Generator],
    epsilons: Sequence[float] = EPSILONS,
    attacks: Sequence[str] | None = None,
    transfer_images: dict[float, Tensor] | None = None,
    curve_epsilons: Sequence[float] = CURVE_EPSILONS,
    progress: Progress = iter,
    state: State | None = None,
    done: Callable[[State], None] = lambda state: None,
) -> dict:
    """Attack images (N, ...) in [-1, 1] with labels (N,).

    generator(*names) makes the generator of one use. attacks: keys of ATTACKS; by default all that the number of
    classes allows, "transfer" where transfer_images are given, epsilon -> images (N, ...) that fool another network.
    done(state) is called after each attack at each epsilon; given back as `state`, the evaluation goes on from there
    to the same figures. progress wraps the looks that are left. Raises ValueError for attacks that cannot be run.

    Returns fractions, epsilons as text:
    n_images, clean_accuracy; worst_case, worst_case_stderr (over images): {epsilon: …}, of all images;
    by_attack: {attack: {epsilon: robust accuracy}} of those run on all images, as if there were no other attack;
    on_standing: {attack: {epsilon: {attacked, broken}}}, counts, of those run only on images that no attack before
    had broken; curve: {epsilon: robust accuracy} under APGD on the margin in 20 steps, until nothing is left;
    signs: zero_gradient_<loss>_<precision>, the share of images whose gradient is 0 in every pixel; black_box_only:
    {epsilon: share broken by black box or transfer and by no white box}; many_steps_minus_one_step: {loss: {epsilon:
    robust accuracy under PGD − that under FGSM}}, above 0 where one step is the stronger; curve_end, its last value.
    """
    state = {} if state is None else dict(state)
    with evaluation_mode(target.encoder, target.decoder), torch.no_grad():
        names = _names(attacks, target.logits(images[:1], None).shape[2], transfer_images, epsilons)
        choosing, counting = (
            target.noise(images, target.n_judging_draws, generator(use)) for use in ("choosing draws", "counting draws")
        )
        clean = torch.stack([target.accuracy(images, labels, noise) for noise in (choosing, counting)])
    epsilons, curve_epsilons = sorted(set(epsilons)), sorted(set(curve_epsilons))
    for values in state.values():
        if values.shape != (2, len(images)):
            raise ValueError(f"the state to go on from is of {values.shape[-1]} images, not of {len(images)}")

    def found(of: Sequence[str], epsilon: float, among: Sequence[float]) -> Tensor:
        """Candidates (M, 2, N) within the ball: what these attacks found, the last first; the clean images."""
        keys = [f"{name} {smaller}" for smaller in among if smaller <= epsilon for name in of]
        return torch.stack((*(state[key].to(clean) for key in reversed(keys) if key in state), clean))

    def robust(of: Sequence[str], epsilon: float, among: Sequence[float] = epsilons) -> tuple[float, float]:
        """Robust accuracy and its standard error. The lowest up to this epsilon: the smaller balls lie within it."""
        figures = []
        for smaller in (-1.0, *(smaller for smaller in among if smaller <= epsilon)):
            chosen, counted = found(of, smaller, among).unbind(1)
            share = counted.gather(0, chosen.argmin(0, keepdim=True))[0].double()
            figures.append((float(share.mean()), float(share.std(correction=0)) / math.sqrt(len(images))))
        return min(figures)

    plan = [(name, ATTACKS[name], epsilon) for epsilon in epsilons for name in names]
    plan += [("curve", CURVE, epsilon) for epsilon in curve_epsilons]
    left = sum(attack.looks for name, attack, epsilon in plan if f"{name} {epsilon}" not in state)
    looks = iter(progress(range(left)))
    standing_counts: dict[str, dict] = {name: {} for name in names if not ATTACKS[name].alone}
    for name, attack, epsilon in plan:
        if (key := f"{name} {epsilon}") not in state:
            among = curve_epsilons if name == "curve" else epsilons
            standing = found([name] if attack.alone else names, epsilon, among)[:, 0].amin(0) > 0
            if attack.alone and target.code != "mean":  # right in no draw so far, maybe in one of those that count
                standing = torch.ones_like(standing)
            keywords = {"others": transfer_images[epsilon]} if transfer_images and name == "transfer" else {}
            looked = 0

            def tick() -> None:
                nonlocal looked
                looked += 1
                next(looks, None)

            attacked, chosen = adversarial(
                attack, target, images, labels, epsilon=epsilon, generator=generator(name, str(epsilon)),
                rows=standing.nonzero().squeeze(1), tick=tick, **keywords,
            )
            with evaluation_mode(target.encoder, target.decoder):
                state[key] = torch.stack((chosen, target.accuracy(attacked, labels, counting))).cpu()
            for _ in range(looked, attack.looks):
                next(looks, None)
            done(dict(state))
        if name in standing_counts:
            chosen = state[key][0]
            standing_counts[name][str(epsilon)] = {
                "attacked": int(chosen.isfinite().sum()), "broken": int((chosen == 0).sum())
            }
    next(looks, None)  # so that a bar is closed

    def table(of: Sequence[str], among: Sequence[float] = epsilons, value: int = 0) -> dict[str, float]:
        return {str(epsilon): robust(of, epsilon, among)[value] for epsilon in among}

    white = [name for name in names if ATTACKS[name].kind == "white"]
    worst, by_attack = table(names), {name: table([name]) for name in names if ATTACKS[name].alone}
    curve = table(["curve"], curve_epsilons)
    signs: dict = zero_gradients(target, images, labels, generator)
    if white and white != names:
        signs["black_box_only"] = {epsilon: value - worst[epsilon] for epsilon, value in table(white).items()}
    signs["many_steps_minus_one_step"] = {
        loss: {key: by_attack[f"pgd_{loss}"][key] - value for key, value in by_attack[f"fgsm_{loss}"].items()}
        for loss in ("cross_entropy", "margin") if {f"pgd_{loss}", f"fgsm_{loss}"} <= by_attack.keys()
    }
    if curve:
        signs["curve_end"] = curve[str(curve_epsilons[-1])]
    return {
        "n_images": len(images), "clean_accuracy": float(clean[1].double().mean()),
        "worst_case": worst, "worst_case_stderr": table(names, value=1),
        "by_attack": by_attack, "on_standing": standing_counts, "curve": curve, "signs": signs,
    }


def _names(
    asked: Sequence[str] | None, n_classes: int, transfer_images: dict[float, Tensor] | None, epsilons: Sequence[float]
) -> list[str]:
    """The attacks to be run, in the order of ATTACKS."""
    if asked is None:
        asked = [name for name, attack in ATTACKS.items() if n_classes >= attack.min_classes]
        if transfer_images is None:
            asked.remove("transfer")
    for name in asked:
        if name not in ATTACKS:
            raise ValueError(f"there is no attack {name}; there are {', '.join(ATTACKS)}")
        if n_classes < ATTACKS[name].min_classes:
            raise ValueError(f"{name} needs {ATTACKS[name].min_classes} classes or more, the model has {n_classes}")
    if "transfer" in asked and not set(epsilons) <= (transfer_images or {}).keys():
        raise ValueError("transfer needs images of another network for every epsilon")
    return [name for name in ATTACKS if name in asked]


def zero_gradients(
    target: Target, images: Tensor, labels: Tensor, generator: Callable[..., torch.Generator]
) -> dict[str, float]:
    """The share of clean images whose gradient is exactly 0 in every pixel, by loss and precision.

    In float64 only where the networks are modules, which can be copied, and the device has that precision.
    """
    shares = {}
    encoder, decoder = target.encoder, target.decoder
    for precision, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        if dtype == torch.float64:
            if images.device.type == "mps" or not isinstance(encoder, nn.Module) or not isinstance(decoder, nn.Module):
                continue
            encoder, decoder = copy.deepcopy(encoder).double(), copy.deepcopy(decoder).double()
            target, images = replace(target, encoder=encoder, decoder=decoder), images.double()
        for name, loss in (("cross_entropy", cross_entropy), ("margin", margin)):
            with evaluation_mode(target.encoder, target.decoder):
                _, gradient = Search(target, images, labels, 0.0, generator("zero gradients")).look(images, loss)
            shares[f"zero_gradient_{name}_{precision}"] = float((gradient.flatten(1) == 0).all(1).double().mean())
    return shares
