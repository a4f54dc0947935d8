"""Attacks that settle whether a model is robust, for images in [-1, 1] and at most epsilon a pixel (L-infinity).

    adversarial("apgd_dlr", Target(encoder, decoder), images, labels, epsilon=0.1, generator=generator)

White box: FGSM, PGD (Madry et al. 2018), APGD (Croce and Hein 2020). Black box: Square (Andriushchenko et al. 2020),
and the adversarial images of another network. A new attack is a new record in ATTACKS.
Random numbers are drawn for all images of a set at every step, whichever of them are still attacked and however they
are batched: what becomes of an image depends on the seed alone, up to the rounding of products of another shape.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from modellib.evaluations.common import Decoder, Encoder, evaluation_mode

Loss = Callable[..., Tensor]  # logits (S, B, K) of S draws, labels (B,), … -> (S, B), to be ascended


@dataclass(frozen=True)
class Target:
    """The model under attack; of a sampled code the attacks see the mean over draws of loss and gradient.

    Generators live on the device of the images.
    """

    encoder: Encoder
    decoder: Decoder
    code: str = "mean"  # or "sample"
    n_draws: int = 20  # of a sampled code at every look (expectation over transformation, Athalye et al. 2018)
    n_judging_draws: int = 100  # of a sampled code when an adversarial image is judged
    batch_size: int = 1000  # images a call of the networks
    image_shape: tuple[int, ...] | None = None  # channels, height, width of flat images, for Square

    def noise(self, images: Tensor, n_draws: int, generator: torch.Generator) -> Tensor | None:
        """Standard normal noise for `n_draws` codes of every image: (S, N, D), or None for the mean code."""
        if self.code == "mean":
            return None
        with torch.no_grad():
            shape = self.encoder(images[:1])[0].shape[1:]
        shape = n_draws, len(images), *shape
        return torch.randn(shape, generator=generator, device=images.device, dtype=images.dtype)

    def logits(self, images: Tensor, noise: Tensor | None) -> Tensor:
        """images (B, ...), noise (S, B, D) -> (S, B, K); S = 1 for the mean code. The encoder runs once."""
        mean, std = self.encoder(images)
        if noise is None:
            return self.decoder(mean).unsqueeze(0)
        return self.decoder((mean + std * noise).flatten(0, 1)).unflatten(0, noise.shape[:2])

    def parts(self, n_images: int) -> Iterator[slice]:
        return (slice(start, start + self.batch_size) for start in range(0, n_images, self.batch_size))

    @torch.no_grad()
    def accuracy(self, images: Tensor, labels: Tensor, noise: Tensor | None) -> Tensor:
        """The share of draws that are classified correctly, of every image: (N,); 0 or 1 for the mean code."""
        shares = [
            (self.logits(images[part], noise if noise is None else noise[:, part]).argmax(2) == labels[part])
            .to(images.dtype).mean(0)
            for part in self.parts(len(images))
        ]
        return torch.cat(shares)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """It saturates: where the logits lie far apart its gradient is 0 in float32."""
    losses = F.cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits)), reduction="none")
    return losses.unflatten(0, logits.shape[:2])


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """max over other classes − logit_y: above 0 where misclassified. It does not saturate."""
    label = labels.expand(logits.shape[:2]).unsqueeze(2)
    return (logits.scatter(2, label, -math.inf).amax(2, keepdim=True) - logits.gather(2, label)).squeeze(2)


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Difference of logits ratio: the margin over the distance of the largest to the third largest logit.

    Unchanged when logits are scaled or shifted. Croce and Hein 2020, eq. (6). Raises ValueError below 3 classes.
    """
    largest = _largest(logits, 3)
    return margin(logits, labels) / (largest[..., 0] - largest[..., 2] + 1e-12)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Towards the class `targets` (B,). Croce and Hein 2020, eq. (7). Raises ValueError below 4 classes."""
    largest = _largest(logits, 4)
    label, target = (classes.expand(logits.shape[:2]).unsqueeze(2) for classes in (labels, targets))
    difference = (logits.gather(2, target) - logits.gather(2, label)).squeeze(2)
    return difference / (largest[..., 0] - (largest[..., 2] + largest[..., 3]) / 2 + 1e-12)


def _largest(logits: Tensor, n: int) -> Tensor:
    if logits.shape[2] < n:
        kind = "targeted DLR" if n == 4 else "DLR"
        raise ValueError(f"the {kind} loss needs {n} classes or more, the model has {logits.shape[2]}")
    return logits.topk(n, dim=2).values


class Search:
    """One attack's search for adversarial images: who is still attacked, their balls, and the best found so far.

    Looks within a start are compared by their own draws; the best of each start is then judged by new ones, and an
    image that is right in none of them is broken and attacked no further. Of a sampled code the last one is judged
    beside the best, which may be the best by its draws alone.
    """

    def __init__(
        self, target: Target, images: Tensor, labels: Tensor, epsilon: float, generator: torch.Generator,
        *, rows: Tensor | None = None, tick: Callable[[], None] = lambda: None,
    ):
        """images (N, ...) in [-1, 1], labels (N,); rows: which of them are attacked, all by default.

        tick: called at every look. Raises ValueError for images or an epsilon out of range.
        """
        if not 0 <= epsilon < math.inf:
            raise ValueError(f"epsilon must be a number from 0 on, not {epsilon}")
        if len(images) and not images.abs().max() <= 1:
            raise ValueError("images must lie in [-1, 1]")
        self.target, self.all_images, self.all_labels, self.epsilon = target, images, labels, epsilon
        self.generator, self.tick = generator, tick
        self.found, self.accuracy = images.clone(), images.new_full((len(images),), math.inf)
        self._attack(torch.arange(len(images), device=images.device) if rows is None else rows)

    def _attack(self, rows: Tensor) -> None:
        self.rows, self.images, self.labels = rows, self.all_images[rows], self.all_labels[rows]
        self.low, self.high = (self.images - self.epsilon).clamp_(min=-1), (self.images + self.epsilon).clamp_(max=1)
        self.best, self.last = self.images.clone(), self.images
        self.best_accuracy, self.best_margin = self.images.new_full((2, len(rows)), math.inf)

    def starts(self, n: int) -> Iterator[int]:
        """0, 1, …, n − 1, as long as an image stands; the best of each start is judged after it."""
        for start in range(n):
            if len(self.rows):
                yield start
                self.settle()

    def project(self, images: Tensor) -> Tensor:
        """Into the ball and into [-1, 1], in place."""
        return torch.clamp(images, self.low, self.high, out=images)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform random numbers in [0, 1) for every image still attacked: (B, *shape)."""
        all_images, shape = self.all_images, (len(self.all_images), *shape)
        numbers = torch.rand(shape, generator=self.generator, device=all_images.device, dtype=all_images.dtype)
        return numbers[self.rows]

    def random_start(self) -> Tensor:
        return self.project(self.images + self.epsilon * (2 * self.uniform(*self.images.shape[1:]) - 1))

    def noise(self, n_draws: int) -> Tensor | None:
        noise = self.target.noise(self.all_images, n_draws, self.generator)
        return noise if noise is None else noise[:, self.rows]

    def look(
        self, images: Tensor, loss: Loss | None = None, *extra: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The mean over draws of the loss, (B,), and its gradient, (B, ...); without a loss, the margin and no numbers.

        extra: what the loss needs of every image besides its label. Without noise the draws are new ones.
        """
        self.tick()
        self.last = images
        noise = self.noise(self.target.n_draws) if noise is None else noise
        values, gradients, seen = [], [], []
        for part in self.target.parts(len(images)):
            label = self.labels[part]
            with torch.set_grad_enabled(loss is not None):
                image = images[part].detach().requires_grad_(loss is not None)
                logits = self.target.logits(image, noise if noise is None else noise[:, part])
                if loss is not None:
                    value = loss(logits, label, *(tensor[part] for tensor in extra)).mean(0)
                    gradients.append(torch.autograd.grad(value.sum(), image)[0])  # by the image: no others are made
                    values.append(value.detach())
            logits = logits.detach()
            right = (logits.argmax(2) == label).to(images.dtype).mean(0)
            seen.append(torch.stack((right, -margin(logits, label).mean(0))))
        accuracy, left = torch.cat(seen, 1)
        better = (accuracy < self.best_accuracy) | ((accuracy == self.best_accuracy) & (left < self.best_margin))
        _overwrite(self.best, better, images)
        self.best_accuracy = torch.where(better, accuracy, self.best_accuracy)
        self.best_margin = torch.where(better, left, self.best_margin)
        if loss is None:
            return left, left.new_empty(0)
        return torch.cat(values), gradients[0] if len(gradients) == 1 else torch.cat(gradients)

    def settle(self) -> Tensor:
        """Judge the best of this start, keep it where it beats earlier starts, and drop who is broken.

        Returns which of the images stay, (B,).
        """
        accuracy = self.best_accuracy
        if (noise := self.noise(self.target.n_judging_draws)) is not None:
            accuracy, of_last = (
                self.target.accuracy(found, self.labels, noise) for found in (self.best, self.last)
            )
            _overwrite(self.best, of_last < accuracy, self.last)
            accuracy = torch.minimum(accuracy, of_last)
        better = accuracy < self.accuracy[self.rows]
        self.found[self.rows[better]] = self.best[better]
        self.accuracy[self.rows] = torch.where(better, accuracy, self.accuracy[self.rows])
        stays = self.accuracy[self.rows] > 0
        self._attack(self.rows[stays])
        return stays


def _as(per_image: Tensor, images: Tensor) -> Tensor:
    """(B,) -> (B, 1, ...), to be broadcast over images."""
    return per_image.reshape(-1, *(1,) * (images.ndim - 1))


def _overwrite(images: Tensor, where: Tensor, new: Tensor) -> None:
    """In place; where (B,)."""
    if images.device.type == "cpu":  # the fewer the faster
        rows = where.nonzero().squeeze(1)
        images[rows] = new[rows]
    else:  # no waiting for the device
        torch.where(_as(where, new), new, images, out=images)


def fgsm(search: Search, *, loss: Loss) -> None:
    """One step from the clean image along the sign of the gradient (Goodfellow et al. 2015)."""
    for _ in search.starts(1):
        _, gradient = search.look(search.images, loss)
        search.look(search.project(search.images + search.epsilon * gradient.sign()))


def pgd(search: Search, *, loss: Loss, steps: int = 100, starts: int = 5) -> None:
    """Projected steps of 2.5 epsilon / steps along the sign of the gradient, from random starts (Madry et al. 2018)."""
    for _ in search.starts(starts):
        image = search.random_start()
        for _ in range(steps):
            _, gradient = search.look(image, loss)
            image = search.project(torch.add(image, gradient.sign(), alpha=2.5 * search.epsilon / steps))
        search.look(image)


def apgd(search: Search, *, loss: Loss, steps: int = 100, starts: int = 1) -> None:
    """PGD that finds its step size itself (Croce and Hein 2020, Algorithm 1)."""
    for _ in search.starts(starts):
        _climb(search, loss, steps)


def apgd_targeted(search: Search, *, steps: int = 100, n_targets: int = 9) -> None:
    """APGD on the targeted DLR loss, towards each of the most probable other classes of the clean image."""
    with torch.no_grad():
        parts = search.target.parts(len(search.all_images))
        logits = torch.cat([search.target.logits(search.all_images[part], None)[0] for part in parts])
        others = logits.scatter(1, search.all_labels.unsqueeze(1), -math.inf).argsort(1, descending=True)[:, :-1]
    for i in search.starts(min(n_targets, others.shape[1])):
        _climb(search, targeted_dlr, steps, others[search.rows, i])


def checkpoints(steps: int) -> list[int]:
    """After how many steps APGD thinks about its step size: 22 % of them, then ever shorter stretches, at least 6 %."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return [math.ceil(round(share * steps, 6)) for share in shares[1:] if share <= 1]


def _climb(search: Search, loss: Loss, steps: int, *extra: Tensor, momentum: float = 0.75, rho: float = 0.75) -> None:
    previous = image = search.random_start()
    value, gradient = search.look(image, loss, *extra)
    best, best_value, best_gradient = image.clone(), value, gradient.clone()
    step = _as(torch.full_like(value, 2 * search.epsilon), image)
    rises, best_before, halved, since = torch.zeros_like(value), value, torch.zeros_like(value, dtype=torch.bool), 0
    turns = checkpoints(steps)
    for k in range(1, steps + 1):
        new = search.project(torch.addcmul(image, step, gradient.sign()))
        if k > 1:  # new + (1 - momentum) * (image - previous), on the way from image to new
            new.mul_(momentum).add_(image, alpha=2 * (1 - momentum)).sub_(previous, alpha=1 - momentum)
            new = search.project(new)
        previous, image, before = image, new, value
        value, gradient = search.look(image, loss, *extra)
        rises += value > before
        better = value > best_value
        _overwrite(best, better, image)
        _overwrite(best_gradient, better, gradient)
        best_value = torch.where(better, value, best_value)
        if k in turns:  # a step too large: too few rises, or none above the best since the last checkpoint
            halved = (rises < rho * (k - since)) | (~halved & (best_value == best_before))
            again = _as(halved, image)
            step = torch.where(again, step / 2, step)
            image, gradient = torch.where(again, best, image), torch.where(again, best_gradient, gradient)
            value = torch.where(halved, best_value, value)
            rises, best_before, since = torch.zeros_like(rises), best_value, k


def square(search: Search, *, queries: int = 5000, p_init: float = 0.8, block: int = 100) -> None:
    """Random squares of ± epsilon, kept where they lower the margin (Andriushchenko et al. 2020, L-infinity).

    Of a sampled code, a block of queries shares its draws; after each block the broken images are dropped.
    """
    shape = search.target.image_shape or search.images.shape[1:]
    if len(shape) != 3:
        raise ValueError("Square needs the image_shape (channels, height, width) of flat images")
    channels, height, width = shape
    rows, columns = (torch.arange(n, device=search.images.device) for n in (height, width))

    def corner(up: Tensor, images: Tensor) -> Tensor:
        """Where `up` the pixel at the upper end of its ball, else at the lower one."""
        return torch.where(up.expand(-1, *shape).reshape(images.shape), search.high, search.low)

    image = corner(search.uniform(channels, 1, width) < 0.5, search.images)  # vertical stripes
    for query in range(1, queries):
        if (query - 1) % block == 0:
            noise = search.noise(search.target.n_draws)
            left, _ = search.look(image, noise=noise)
        side = max(1, min(round(math.sqrt(square_share(query, queries, p_init) * height * width)), height, width))
        place, up = search.uniform(2).unsqueeze(2), search.uniform(channels, 1, 1) < 0.5
        top, start = (place[:, 0] * (height - side + 1)).long(), (place[:, 1] * (width - side + 1)).long()
        inside_rows, inside_columns = ((n >= low) & (n < low + side) for n, low in ((rows, top), (columns, start)))
        inside = (inside_rows.unsqueeze(2) & inside_columns.unsqueeze(1)).unsqueeze(1)  # (B, 1, height, width)
        inside = inside.expand(-1, *shape).reshape(image.shape)
        new = torch.where(inside, corner(up, image), image)
        new_left, _ = search.look(new, noise=noise)
        lower = new_left < left
        image, left = torch.where(_as(lower, image), new, image), torch.where(lower, new_left, left)
        if query % block == 0:
            image = image[search.settle()]
            if not len(image):
                return
    search.settle()


def square_share(query: int, queries: int, p_init: float) -> float:
    """The share of pixels that a square changes: halved at these queries of 10,000, and at their like of fewer."""
    halvings = (10, 50, 200, 1000, 2000, 4000, 6000, 8000)
    return p_init / 2 ** sum(query * 10_000 / queries >= halving for halving in halvings)


def transfer(search: Search, *, others: Tensor) -> None:
    """Images (N, ...) that fool another network, brought into the ball."""
    for _ in search.starts(1):
        search.look(search.project(others[search.rows]))


@dataclass(frozen=True)
class Attack:
    run: Callable[..., None]
    kind: str  # white or black box, or transfer
    looks: int  # at most, each a call of the networks with the images still attacked
    alone: bool = True  # cheap enough to be run on all images for a figure of its own, not on those still standing
    min_classes: int = 2


ATTACKS: dict[str, Attack] = {  # in the order in which they are run
    "fgsm_cross_entropy": Attack(partial(fgsm, loss=cross_entropy), "white", 2),
    "fgsm_margin": Attack(partial(fgsm, loss=margin), "white", 2),
    "apgd_cross_entropy": Attack(partial(apgd, loss=cross_entropy), "white", 101),
    "apgd_dlr": Attack(partial(apgd, loss=dlr), "white", 101, min_classes=3),
    "pgd_cross_entropy": Attack(partial(pgd, loss=cross_entropy), "white", 505),
    "pgd_margin": Attack(partial(pgd, loss=margin), "white", 505),
    "apgd_targeted_dlr": Attack(apgd_targeted, "white", 909, alone=False, min_classes=4),
    "transfer": Attack(transfer, "transfer", 1),
    "square": Attack(square, "black", 5050, alone=False),
}


def adversarial(
    attack: str | Attack, target: Target, images: Tensor, labels: Tensor, *, epsilon: float,
    generator: torch.Generator, rows: Tensor | None = None, tick: Callable[[], None] = lambda: None, **keywords,
) -> tuple[Tensor, Tensor]:
    """Attack images (N, ...) in [-1, 1] with labels (N,), those in `rows` (M,) or all.

    attack: a key of ATTACKS or a record; keywords: of its function, such as `others` of "transfer". Returns the worst
    images found, (N, ...), and the share of fresh draws in which each is classified correctly, (N,), by which it was
    chosen (0 or 1 for the mean code, inf where not attacked). Of a sampled code judge the images anew with
    `Target.accuracy`: a choice by the least share is a lucky one.
    """
    record = ATTACKS[attack] if isinstance(attack, str) else attack
    with evaluation_mode(target.encoder, target.decoder), torch.no_grad():
        search = Search(target, images, labels, epsilon, generator, rows=rows, tick=tick)
        if len(search.rows):
            record.run(search, **keywords)
    return search.found, search.accuracy
