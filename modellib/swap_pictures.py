"""The paper's pictures: whose class, whose style. Images (N, C, H, W) in [0, 1]; pictures are (3, height, width)."""

import torch
from torch import Tensor

from modellib.evaluations.disentangling import Reconstruct, reconstructions

RULE = 3  # pixels between originals and reconstructions


def swap_grid(reconstructor: Reconstruct, style: Tensor, images: Tensor, labels: Tensor) -> Tensor:
    """n originals across the top give the class, the same down the left the style; below, every combination.

    style (n, D): the originals' mean style codes. labels (n,).
    """
    from torchvision.utils import make_grid  # a second, for pictures alone

    n = len(images)
    combined = reconstructions(reconstructor, style.repeat_interleave(n, 0), labels.repeat(n), batch_size=512)
    originals = images.cpu()
    top, left, inner = (
        make_grid(cells, nrow=columns, padding=0)
        for cells, columns in ((originals, n), (originals, 1), (torch.cat(list(combined)).cpu(), n))
    )
    height, width = top.shape[1] + RULE + inner.shape[1], left.shape[2] + RULE + inner.shape[2]
    picture = torch.ones(3, height, width)
    picture[:, : top.shape[1], : left.shape[2]] = 0  # the corner
    picture[:, : top.shape[1], -inner.shape[2] :] = top
    picture[:, -inner.shape[1] :, : left.shape[2]] = left
    picture[:, -inner.shape[1] :, -inner.shape[2] :] = inner
    return picture


def interpolation(reconstructor: Reconstruct, styles: Tensor, n_classes: int, n_steps: int) -> Tensor:
    """A row for every class, all on the same straight way from the style code styles[0] to styles[1], (2, D)."""
    from torchvision.utils import make_grid

    share = torch.linspace(0, 1, n_steps, device=styles.device)[:, None]
    way = styles[0] + share * (styles[1] - styles[0])  # (n_steps, D)
    labels = torch.arange(n_classes, device=styles.device).repeat_interleave(n_steps)
    cells = reconstructions(reconstructor, way.repeat(n_classes, 1), labels, batch_size=512)
    return make_grid(torch.cat(list(cells)).cpu(), nrow=n_steps, padding=0)
