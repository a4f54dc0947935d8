"""How a trained run on Shapes lines up one shape with another: what its swaps show, for every pair of shapes.

    python tests/calibration/shapes_alignment.py STORAGE/experiments/disentangling/shapes/disenib/seed0

For swaps of all training images, the true image that each is nearest to: the shares with the intended class and
orientation, and how far its position is off, in steps (pixels, to the right and down). Then, of the images
themselves, where the centre of mass of a shape lies beside its position, and how much a square differs from the other
shapes at either orientation.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch  # noqa: E402

from custom_pkg import checkpoints  # noqa: E402
from dataloader.shapes import FACTORS, ORIENTATIONS, SCALE  # noqa: E402
from experiments.registry import EXPERIMENTS, restored  # noqa: E402
from modellib.evaluations.common import encode  # noqa: E402
from modellib.evaluations.disentangling import nearest_truth, swap_pairs  # noqa: E402

SHAPES = ("square", "ellipse", "heart")
MIDDLE = 15  # a position in both directions


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    path = Path(sys.argv[1]) / "checkpoints" / "last.pt"
    saved = checkpoints.load_run(path)
    options, model = restored(saved, path)
    loaded = EXPERIMENTS[saved["script"]].load(options, torch.device("cpu"))
    images, labels = loaded.sets["train"]
    factors = loaded.data.train.factors
    every_image = torch.cat([images for images, _ in loaded.sets.values()])
    every_factor = torch.cat((factors, loaded.data.test.factors))
    style, _ = encode(model.style_encoder, images, batch_size=2560)
    rows, classes = swap_pairs(labels, len(SHAPES), 2 * len(labels), torch.Generator().manual_seed(0))
    found, wanted = nearest_truth(
        model.reconstructor, style, factors, rows, classes, every_image, every_factor, batch_size=500
    )
    shape, _, orientation, x, y = range(len(FACTORS.names))
    print("style of   drawn as   class, %   orientation, %   x off, mean and mean size   y off")
    for source, name in enumerate(SHAPES):
        for target, other in enumerate(SHAPES):
            swaps = (labels[rows] == source) & (classes == target)
            if swaps.any():
                right = 100 * (found == wanted)[swaps].double().mean(0)
                off = (found - wanted)[swaps].double()
                mean, size = off.mean(0), off.abs().mean(0)
                print(f"{name:10s} {other:10s} {right[shape]:8.1f} {right[orientation]:16.1f}"
                      f" {mean[x]:16.2f} {size[x]:10.2f} {mean[y]:9.2f} {size[y]:6.2f}")

    def picture(shape: int, orientation: int) -> torch.Tensor:
        at = (every_factor == torch.tensor([shape, SCALE, orientation, MIDDLE, MIDDLE])).all(1)
        return every_image[at][0, 0].double()

    def centre(shape: int, orientation: int) -> torch.Tensor:
        """Of mass, (x, y)."""
        mass, pixels = picture(shape, orientation), torch.arange(64).double()
        return torch.stack((mass.sum(0) @ pixels, mass.sum(1) @ pixels)) / mass.sum()

    print("\ncentre of mass, from the square's     x          y")
    for shape, name in enumerate(SHAPES):
        for orientation in ORIENTATIONS:
            x, y = centre(shape, orientation) - centre(0, orientation)
            print(f"{name:10s} orientation {orientation:2d} {x:15.2f} {y:10.2f}")
    print("\nMSE of a square and another shape, at the same orientation and at the other one")
    for shape in (1, 2):
        pairs = (zip(ORIENTATIONS, order, strict=True) for order in (ORIENTATIONS, ORIENTATIONS[::-1]))
        same, other = (
            sum(float((picture(0, o) - picture(shape, p)).square().mean()) for o, p in pair) / 2 for pair in pairs
        )
        print(f"{SHAPES[shape]:10s} {same:.4f} {other:.4f}")


if __name__ == "__main__":
    main()
