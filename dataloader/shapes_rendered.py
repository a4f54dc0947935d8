"""The images of dSprites (Matthey et al. 2017), drawn by this project from their five factors.

The three outlines and the rule "a pixel is on when its centre lies inside" were fitted to the 320 frames of the
data set's published animation; tests/calibration/shapes_against_frames.py measures how close they come. The animation
cannot tell a direction of rotation from the order of its frames; they are taken to run up the orientation index.
"""

import numpy as np

SIDE = 64
FIRST_CENTRE, LAST_CENTRE = 15.5, 47.5  # pixels, at position indices 0 and 31
SCALES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def render(values: np.ndarray) -> np.ndarray:
    """Images of factor values (N, 5), shape, scale, orientation, x and y: (N, 64, 64) uint8, 0 or 1.

    Orientation index k is 2 pi k / 39 counterclockwise, so that 39 is 0 again; x counts to the right, y downwards.
    """
    pixels = np.arange(SIDE)
    images = np.empty((len(values), SIDE, SIDE), dtype=np.uint8)
    for image, (shape, scale, orientation, x, y) in zip(images, values, strict=True):
        right, down = pixels - _centre(x), (pixels - _centre(y))[:, None]
        angle = 2 * np.pi * (orientation % 39) / 39
        cos, sin = np.cos(angle) / SCALES[scale], np.sin(angle) / SCALES[scale]
        # The pixels' centres in the upright shape of full scale
        image[:] = OUTLINES[shape](cos * right - sin * down, sin * right + cos * down)
    return images


def _centre(position: int) -> float:
    return FIRST_CENTRE + (LAST_CENTRE - FIRST_CENTRE) * position / 31


# What lies inside each shape: right and down, in pixels from the shape's centre, broadcast to (64, 64) -> bool


def _square(right: np.ndarray, down: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(right), np.abs(down)) < 9.6


def _ellipse(right: np.ndarray, down: np.ndarray) -> np.ndarray:
    return (right / 12.77) ** 2 + (down / 7.212) ** 2 < 1


def _heart(right: np.ndarray, down: np.ndarray) -> np.ndarray:
    """The curve x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t, stretched and moved up.

    At the same x lie t and pi - t. Between them cos t only changes its sign: written in powers of cos t, y is an
    even part, in the middle of the two, plus or minus an odd part.
    """
    cos = np.sqrt(np.maximum(1 - np.cbrt(np.abs(right) / 9.595) ** 2, 0))  # 0 beside the heart: so is `odd`
    even, odd = 4 - 2 * cos**2 - 8 * cos**4, 19 * cos - 8 * cos**3
    return np.abs((-1.44 - down) / 0.6625 - even) < odd


OUTLINES = (_square, _ellipse, _heart)
