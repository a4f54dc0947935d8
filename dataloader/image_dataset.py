"""What an image data set is, and the error raised when there is none to be had."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from custom_pkg.errors import UserError
from dataloader.factors import Factors


class DatasetError(UserError):
    """A data set cannot be had. The message says what is wrong, where, and how to mend it."""


@dataclass(frozen=True)
class Split:
    """Images and their labels, held whole in memory and batched by index.

    images: (N, C, H, W) float32 in [0, 1]
    labels: (N,) int64
    factors: (N, F) int64, what each image is made of, where the data set knows; the images are then ordered class by
        class, with the same styles in the same order in every class
    """

    images: Tensor
    labels: Tensor
    factors: Tensor | None = None

    def flat(self) -> Tensor:
        """The images as rows for fully connected networks: (N, C*H*W) float32 in [-1, 1]."""
        return self.images.flatten(1).mul(2).sub_(1)


@dataclass(frozen=True)
class ImageDataset:
    """A training and a test split, with what a report must say about their origin.

    source: where the files came from, in plain words
    sha256: file (or array) name -> SHA-256 of the raw bytes the images and labels were made from
    factors: what the images are made of, where that is known
    """

    name: str
    n_classes: int
    train: Split
    test: Split
    source: str
    sha256: dict[str, str]
    factors: Factors | None = None

    def __post_init__(self):
        """Raises DatasetError for images that are not numbers from 0 to 1, and for labels of no class."""
        for which, split in (("training", self.train), ("test", self.test)):
            if len(split.images) != len(split.labels):
                raise DatasetError(
                    f"{self.name}: {len(split.images)} {which} images have {len(split.labels)} labels: get other files"
                )
            if not len(split.labels):
                continue
            for what, values, top in (("image", split.images, 1), ("label", split.labels, self.n_classes - 1)):
                low, high = (bound.item() for bound in values.aminmax())
                if not 0 <= low <= high <= top:  # also where one is no number
                    wrong = next(bound for bound in (low, high) if not 0 <= bound <= top)
                    raise DatasetError(
                        f"{self.name}: a {which} {what} has the value {wrong}, outside 0 to {top}: get other files"
                    )

    def without(self, classes: Sequence[int]) -> tuple["ImageDataset", Tensor]:
        """The data set of the other classes, numbered anew from 0, and the test images of these ones, (N, C, H, W).

        Raises DatasetError where it has not all of them, or fewer than two are left.
        """
        kept = [label for label in range(self.n_classes) if label not in classes]
        if len(kept) != self.n_classes - len(classes) or len(kept) < 2:
            raise DatasetError(
                f"--held_out_classes={','.join(map(str, classes))}: {self.name} has the classes 0 to "
                f"{self.n_classes - 1}, and two must be left"
            )
        number = torch.full((self.n_classes,), -1)
        number[kept] = torch.arange(len(kept))

        def part(split: Split) -> Split:
            rows = number[split.labels] >= 0
            factors = split.factors if split.factors is None else split.factors[rows]
            return Split(split.images[rows], number[split.labels[rows]], factors)

        source = f"{self.source}, without the classes {', '.join(map(str, classes))}"
        left = replace(self, n_classes=len(kept), train=part(self.train), test=part(self.test), source=source)
        return left, self.test.images[number[self.test.labels] < 0]

    def record(self) -> dict:
        """What config.json and the checkpoints keep of it."""
        return {
            "name": self.name,
            "source": self.source,
            "sha256": self.sha256,
            "image_shape": list(self.train.images.shape[1:]),
            "n_classes": self.n_classes,
            "n_train": len(self.train.labels),
            "n_test": len(self.test.labels),
        }
