"""I(X;T) of a Gaussian encoder over a whole data set: how much a code tells about which image it came from.

H(X) = log N. A draw t_i of image i has the posterior p_i(j) = softmax_j log q(t_i | x_j) over all N images,
and I(X;T) = log N - mean_i H(p_i). The N x N log-densities l are made block by block and never stored: their
running maximum m and the running sums S = sum_j e^(l_j - m) and W = sum_j (l_j - m) e^(l_j - m) give
H(p_i) = log S - W / S.
"""

import itertools
import math

import torch
from torch import Tensor

from modellib.evaluations.common import Progress
from modellib.evaluations.far_codes import are_far, posterior_entropy_of_far_codes

# Rows and columns of a block. On a CPU the float64 block and its two float32 copies, 9 MB together, stay in
# the cache from the matrix product to the last sum; a GPU wants few large launches (0.5 GB).
BLOCK = {"cpu": (768, 768), "cuda": (4096, 8192)}
# Code dimensions per matrix product. Where code and mean match, the terms of one product cancel before those
# of the next come in, so that rounding errors do not grow with D.
DIMENSIONS = 16
# Terms below 2^-100 of the largest count as 2^-100: it changes nothing, and keeps slow denormal numbers and
# -inf * 0 out of the sums.
SMALLEST_EXPONENT = -100.0


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
    n, device = len(mean), mean.device
    rows, cols = BLOCK["cpu" if device.type == "cpu" else "cuda"]
    logits_buffer = torch.empty(rows, cols, dtype=torch.float64, device=device)
    exponent_buffer, weight_buffer = torch.empty(2, rows, cols, device=device)

    entropy = torch.empty(n, dtype=torch.float64, device=device)
    blocks = range(0, n, rows)
    for i in progress(blocks):
        # The running maximum starts at the image that the code came from, mostly the largest or close to it.
        own = ((left[i : i + rows] * right[i : i + rows]).sum(1, keepdim=True) for left, right in factors)
        row_max = sum(own)  # (B, 1)
        b = len(row_max)
        weight_sum, exponent_sum = torch.zeros_like(row_max), torch.zeros_like(row_max)
        for j in range(0, n, cols):
            c = min(cols, n - j)
            logits, exponent, weight = (x[:b, :c] for x in (logits_buffer, exponent_buffer, weight_buffer))
            for k, (left, right) in enumerate(factors):  # (B, K) @ (K, C) -> (B, C), the first one overwrites
                logits.addmm_(left[i : i + rows], right[j : j + cols].T, beta=min(k, 1))

            shift = row_max
            row_max = torch.maximum(row_max, logits.amax(1, keepdim=True))
            shift = shift - row_max  # <= 0, moves the old sums to the new maximum
            exponent_sum = (exponent_sum + shift * weight_sum) * shift.exp2()
            weight_sum = weight_sum * shift.exp2()

            # Relative to the maximum, float32 is enough: what has weight is a small number.
            exponent.copy_(logits.sub_(row_max)).clamp_(min=SMALLEST_EXPONENT)
            torch.exp2(exponent, out=weight)
            weight_sum += weight.sum(1, keepdim=True)
            exponent_sum += exponent.mul_(weight).sum(1, keepdim=True)
        entropy[i : i + b] = (weight_sum.log2() - exponent_sum / weight_sum).squeeze(1)
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
    right = torch.cat([-0.5 * precision, precision * mean, constant], 1)
    return left, right.mul_(1 / math.log(2))


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
