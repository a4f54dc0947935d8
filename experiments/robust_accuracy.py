"""Robust accuracy of a trained model in the worst case over many attacks, measured so that it can be interrupted."""

import base64
import contextlib
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from custom_pkg.compute import generator
from custom_pkg.errors import UserError
from custom_pkg.files import read_json, write_json
from custom_pkg.terminal import bar, format_table
from experiments.experiment import Loaded, where_float64_is
from modellib.evaluations.attacks import Target, adversarial
from modellib.evaluations.common import finite_outputs
from modellib.evaluations.robustness import robustness
from modellib.model import Model

IMAGES_SEED = 0  # the same test images for every model and seed
N_IMAGES = 1000  # that a measurement looks at unless it is asked for others
WHOLE = "test set"
# One step, for the verdict sets it beside the worst case; many steps on two losses; and without gradients.
SETTLING = {"fgsm_margin", "apgd_cross_entropy", "pgd_margin", "square"}


def attacked_images(loaded: Loaded, n_images: int) -> tuple[Tensor, Tensor]:
    """`n_images` of the test set, drawn once for all models, or all of it (0). Raises UserError."""
    images, labels = loaded.sets["test"]
    if n_images > len(images):
        raise UserError(f"--n_images={n_images}: the test set has {len(images)} images")
    drawn = torch.randperm(len(images), generator=generator(IMAGES_SEED, "robustness, images")).to(images.device)
    rows = drawn[:n_images].sort().values if n_images else slice(None)
    return images[rows], labels[rows]


def measure(
    model: Model, loaded: Loaded, *, n_images: int, epsilons: Sequence[float], attacks: Sequence[str], seed: int,
    source: Model | None, identity: dict, unfinished: Path,
) -> dict:
    """What `robustness` returns, for evaluation.json.

    attacks: names of ATTACKS; () is all that the classes allow, with "transfer" where there is a `source`, the plain
    model whose adversarial images are tried. identity: of the checkpoints, for the file `unfinished`, from which an
    interrupted measurement goes on, and which is gone in the end. Raises UserError.
    """
    model, loaded = where_float64_is(model, loaded)
    images, labels = attacked_images(loaded, n_images)
    shape = tuple(loaded.data.test.images.shape[1:])
    device = images.device
    target = Target(model.encoder, model.decoder, code=model.code, image_shape=shape)
    drawn = f"{len(images)} of the test set, drawn with seed {IMAGES_SEED}"
    settings = {
        **identity, "images": drawn if n_images else WHOLE, "seed": seed, "code": model.code,
        "epsilons": list(epsilons), "attacks": list(attacks),
    }
    state = None
    with contextlib.suppress(UserError, AttributeError, KeyError, TypeError, ValueError):  # none, or of other settings
        before = read_json(unfinished)
        if before["settings"] == settings:
            state = {name: _unpacked(shares, len(images)) for name, shares in before["state"].items()}
    if state is None and unfinished.exists():
        print(f"{unfinished} is of another measurement, or damaged: the attacks start anew")

    def keep(found: dict[str, Tensor]) -> None:
        write_json(unfinished, {"settings": settings, "state": {name: _packed(share) for name, share in found.items()}})

    others = None
    if source is not None:
        source = source.to(device)
        plain = Target(source.encoder, source.decoder, image_shape=shape)
        with finite_outputs(*source.modules()):
            others = {
                epsilon: adversarial(
                    "pgd_margin", plain, images, labels, epsilon=epsilon,
                    generator=generator(seed, "robustness, transfer", str(epsilon), device=device),
                )[0]
                for epsilon in epsilons
            }
    draws = partial(generator, seed, "robustness", device=device)
    try:
        with finite_outputs(*model.modules()):
            found = robustness(
                target, images, labels, generator=draws, epsilons=epsilons, attacks=attacks or None,
                transfer_images=others, state=state, done=keep,
                progress=partial(bar, what=f"attacks, {model.code} code", unit="look"),
            )
    except ValueError as error:
        raise UserError(f"--attacks={','.join(attacks)}: {error}") from None
    unfinished.unlink(missing_ok=True)
    return {**{name: settings[name] for name in ("images", "seed")}, **found}


def _packed(shares: Tensor) -> str:
    """Exact, and small enough for JSON where it is of the whole test set."""
    return base64.b64encode(zlib.compress(shares.numpy().tobytes())).decode()


def _unpacked(text: str | list, n_images: int) -> Tensor:
    """What `_packed` was given, (2, n_images). Raises ValueError. It was a list until November 2026."""
    if isinstance(text, list):
        return torch.tensor(text).reshape(2, n_images)
    wanted = 2 * n_images * 4
    try:
        found = zlib.decompressobj().decompress(base64.b64decode(text), wanted + 1)
    except zlib.error as error:
        raise ValueError(error) from None
    if len(found) != wanted:
        raise ValueError(f"{len(found)} bytes in place of {wanted}")
    return torch.from_numpy(np.frombuffer(found, np.float32).reshape(2, n_images).copy())


def attacks_in(found: dict) -> set[str]:
    """Those that what `measure` returned is of."""
    return {*found.get("by_attack", {}), *found.get("on_standing", {})}


def is_trial(found: dict) -> bool:
    """Whether what `measure` returned is of fewer images, or of fewer attacks, than settle anything."""
    few = found.get("images") != WHOLE and found.get("n_images", 0) < N_IMAGES
    return few or not attacks_in(found) >= SETTLING


def table(found: dict) -> str:
    """What `measure` returned, in percent, a row an attack."""
    epsilons = list(found["worst_case"])
    rows = [
        ["worst case over all", *(
            f"{100 * found['worst_case'][e]:.1f} ± {100 * found['worst_case_stderr'][e]:.1f}" for e in epsilons
        )],
        *([name.replace("_", " "), *(f"{100 * figures[e]:.1f}" for e in epsilons)]
          for name, figures in found["by_attack"].items()),
        *([f"{name.replace('_', ' ')}, broken beside", *(
            f"{figures[e]['broken']} of {figures[e]['attacked']}" for e in epsilons
        )] for name, figures in found["on_standing"].items()),
    ]
    signs = [
        f"{name.removeprefix('zero_gradient_').replace('_', ' ')} {100 * value:.1f} %"
        for name, value in found["signs"].items() if name.startswith("zero_gradient")
    ]
    ends = list(found["curve"].values()).index(0.0) + 1 if 0.0 in found["curve"].values() else None
    curve = "  ".join(f"{epsilon}: {100 * value:.1f}" for epsilon, value in [*found["curve"].items()][:ends])
    return "\n".join((
        format_table([f"robust accuracy, %, of {found['n_images']} images", *(f"ε = {e}" for e in epsilons)], rows),
        f"clean accuracy {100 * found['clean_accuracy']:.1f} %; zero gradients: {', '.join(signs)}",
        f"against ε, APGD on the margin in 20 steps, %: {curve}",
    ))
