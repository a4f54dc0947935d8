"""I(X;T) of a Gaussian encoder over a whole data set: how much a code tells about which image it came from.

H(X) = log N. A draw t_i of image i has the posterior p_i(j) = softmax_j log q(t_i | x_j) over all N images,
and I(X;T) = log N - mean_i H(p_i). The N x N log-densities l are made block by block and never stored: with m
about the largest of them, the sums S = sum_j e^(l_j - m) and W = sum_j (l_j - m) e^(l_j - m) give
H(p_i) = log S - W / S.
"""

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from modellib.evaluations.common import Progress
from modellib.evaluations.far_codes import are_far, posterior_entropy_of_far_codes

# Rows and columns of a block. On a CPU the float64 block and its two float32 copies, 2 MB together, stay in a
# core's cache from the matrix product to the last sum; a GPU wants few large launches (0.5 GB).
BLOCK = {"cpu": (384, 384), "cuda": (4096, 8192)}
# Code dimensions per matrix product. Where code and mean match, the terms of one product cancel before those
# of the next come in, so that rounding errors do not grow with D.
DIMENSIONS = 16
# Log-densities are taken relative to that of the image that the code came from, mostly the largest or close to it.
# Terms below 2^-100 of its count as 2^-100: it changes nothing, and keeps slow denormal numbers and -inf * 0 out of
# the sums. Where a term is above 2^100, all are taken relative to the largest instead.
LIMIT = 100.0


def mutual_information_xt(
    mean: Tensor, std: Tensor, code: Tensor, *, progress: Progress = iter
) -> dict[str, float]:
    """I(X;T) in nats, its standard error over the draws, and its ceiling log N.

    mean: (N, D); std: (N, D), or one element shared by all images; code: (N, D), the draw of each image (or
    the mean itself, as in the published DisenIB figures). `progress` wraps the iterable of blocks, like tqdm.
    Raises ValueError on shapes that do not match, values that are not finite, and std <= 0.
    """
    entropy = posterior_entropy(mean, std, code, progress=progress)
    ceiling = math.log(len(entropy))
    return {
        "mi_xt": ceiling - entropy.mean().item(),
        "mi_xt_stderr": entropy.std(correction=0).item() / math.sqrt(len(entropy)),
        "mi_xt_ceiling": ceiling,
    }


@torch.no_grad()
def posterior_entropy(mean: Tensor, std: Tensor, code: Tensor, *, progress: Progress = iter) -> Tensor:
    """Entropy in nats of p(image | t_i) for each draw: (N,), float64. Arguments: see `mutual_information_xt`.

    Within 1e-4 nats of direct summation in float64; codes beyond 1e5 stds from the mean of all are summed directly.
    """
    check_encodings(mean, std, code)
    if are_far(mean, std, code):
        return posterior_entropy_of_far_codes(mean, std, code, progress=progress)
    stds = std.split(DIMENSIONS, 1) if std.numel() > 1 else itertools.repeat(std.reshape(()))
    parts = zip(mean.split(DIMENSIONS, 1), stds, code.split(DIMENSIONS, 1), strict=False)
    factors = [log2_density_factors(*part) for part in parts]
    factors = [(left, torch.cat([right, torch.ones_like(right[:, :1])], 1)) for left, right in factors]  # for a shift
    n, device = len(mean), mean.device
    rows, cols = BLOCK["cpu" if device.type == "cpu" else "cuda"]
    logits_buffer = torch.empty(rows, cols, dtype=torch.float64, device=device)
    exponent_buffer, weight_buffer = torch.empty(2, rows, cols, device=device)

    def blocks_of(lefts: list[Tensor], shifts: list[Tensor]) -> Iterator[Tensor]:
        """log2 of the densities of all images, one block of columns after the other, less the shifts (B, 1)."""
        lefts = [torch.cat([left, -shift], 1) for left, shift in zip(lefts, shifts, strict=True)]
        for j in range(0, n, cols):
            logits = logits_buffer[: len(lefts[0]), : min(cols, n - j)]
            for k, (left, (_, right)) in enumerate(zip(lefts, factors, strict=True)):  # the first one overwrites
                logits.addmm_(left, right[j : j + cols].T, beta=min(k, 1))  # (B, K) @ (K, C) -> (B, C)
            yield logits

    def sums(lefts: list[Tensor], shifts: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """S, W and the largest exponent of each row, (B,)."""
        weight_sum, exponent_sum = torch.zeros(2, len(lefts[0]), dtype=torch.float64, device=device)
        largest = torch.full((len(lefts[0]),), -LIMIT, device=device)
        for logits in blocks_of(lefts, shifts):
            exponent, weight = (x[: logits.shape[0], : logits.shape[1]] for x in (exponent_buffer, weight_buffer))
            # Relative to about the largest, float32 is enough: what has weight is a small number.
            exponent.copy_(logits).clamp_(-LIMIT, LIMIT)
            largest = torch.maximum(largest, exponent.amax(1))
            weight_sum += torch.exp2(exponent, out=weight).sum(1)
            exponent_sum += exponent.mul_(weight).sum(1)
        return weight_sum, exponent_sum, largest

    entropy = torch.empty(n, dtype=torch.float64, device=device)
    for i in progress(range(0, n, rows)):
        lefts = [left[i : i + rows] for left, _ in factors]
        own = [(left[i : i + rows] * right[i : i + rows, :-1]).sum(1, keepdim=True) for left, right in factors]
        weight_sum, exponent_sum, largest = sums(lefts, own)
        if (largest == LIMIT).any():
            excess = torch.stack([logits.amax(1) for logits in blocks_of(lefts, own)]).amax(0)
            weight_sum, exponent_sum, _ = sums(lefts, [own[0] + excess[:, None], *own[1:]])
        entropy[i : i + rows] = weight_sum.log2() - exponent_sum / weight_sum
    return entropy * math.log(2)


def log2_density_factors(mean: Tensor, std: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
    """Factors (N, K) and (N, K) with left_i . right_j = log2 q(t_i | x_j), up to a constant.

    The square is expanded, -(t - m)^2 / 2s^2 = -t^2 / 2s^2 + t m / s^2 - m^2 / 2s^2, which cancels badly: at
    1e5 stds from the centre the parts are near 1e10 and only float64 leaves enough digits. Centring removes a
    common offset. Base 2, because torch.exp2 is several times as fast as torch.exp on CPUs.
    """
    mean, std, code = mean.double(), std.double(), code.double()
    centre = mean.mean(0)
    mean, code = mean - centre, code - centre
    precision = std**-2  # (N, D) or one element
    constant = -(0.5 * precision * mean**2 + std.log()).sum(1, keepdim=True)  # (N, 1)
    square = code**2
    if std.numel() == 1:  # the same for all images j: one column instead of D
        square, precision = square.sum(1, keepdim=True), precision.expand_as(constant)
    left = torch.cat([square, code, torch.ones_like(constant)], 1)
    right = torch.cat([-0.5 * precision, precision * mean, constant], 1).mul_(1 / math.log(2))
    return left, right


def check_encodings(mean: Tensor, std: Tensor, code: Tensor) -> None:
    """Raise ValueError on what `mutual_information_xt` cannot take."""
    if mean.ndim != 2 or mean.numel() == 0 or code.shape != mean.shape:
        raise ValueError(f"mean and code must be (N, D), got {tuple(mean.shape)} and {tuple(code.shape)}")
    if std.numel() != 1 and std.shape != mean.shape:
        raise ValueError(f"std must be {tuple(mean.shape)} like mean or one element, got {tuple(std.shape)}")
    for name, value in (("mean", mean), ("std", std), ("code", code)):
        if not torch.isfinite(value).all():
            raise ValueError(f"{name} holds values that are not finite")
    if (std <= 0).any():
        raise ValueError("std must be positive")
