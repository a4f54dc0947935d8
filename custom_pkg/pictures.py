"""Pictures with captions as PNG, and a row of them as an animated GIF."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MARGIN = 8
FONT_SIZE = 14


def captioned(pixels: np.ndarray, caption: Sequence[str], *, scale: int = 1) -> Image.Image:
    """pixels (H, W, 3) uint8, every one a square of `scale` pixels, on white below lines of text."""
    image = Image.fromarray(pixels).resize((pixels.shape[1] * scale, pixels.shape[0] * scale), Image.Resampling.NEAREST)
    font = ImageFont.load_default(FONT_SIZE)
    lines = [line for text in caption for line in _wrapped(text, font, image.width)]
    top = MARGIN + len(lines) * (FONT_SIZE + 4) + MARGIN // 2
    page = Image.new("RGB", (image.width + 2 * MARGIN, top + image.height + MARGIN), "white")
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + number * (FONT_SIZE + 4)), line, "black", font)
    page.paste(image, (MARGIN, top))
    return page


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def scatter(
    groups: Sequence[tuple[str, str, Sequence[tuple[float, float]]]], *,
    axes: tuple[str, str], ends: tuple[float, float],
) -> Image.Image:
    """Points in a plane whose axes go from 0 to `ends`: (name, colour, points) each, with a legend.

    For logs, where one is drawn in milliseconds; the figures of the report are matplotlib's.
    """
    left, top, width, height = 56, 24, 400, 300
    page = Image.new("RGB", (left + width + 24, top + height + 56), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(FONT_SIZE)
    draw.rectangle((left, top, left + width, top + height), outline="grey")
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = left + share * width, top + (1 - share) * height
        draw.line((x, top + height, x, top + height + 4), "grey")
        draw.line((left - 4, y, left, y), "grey")
        draw.text((x, top + height + 6), f"{share * ends[0]:.2f}", "black", font, anchor="mt")
        draw.text((left - 8, y), f"{share * ends[1]:.2f}", "black", font, anchor="rm")
    draw.text((left + width / 2, top + height + 34), axes[0], "black", font, anchor="mm")
    draw.text((left, top / 2), axes[1], "black", font, anchor="lm")
    for number, (name, colour, points) in enumerate(groups):
        legend = (left + 20, top + height - 20 * (len(groups) - number))
        draw.text((legend[0] + 12, legend[1]), name, "black", font, anchor="lm")
        for x, y in (legend, *((left + x / ends[0] * width, top + (1 - y / ends[1]) * height) for x, y in points)):
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), colour, "black")
    return page


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def animation(frames: Sequence[Path], *, milliseconds: int = 250, colours: int = 256) -> bytes:
    """A GIF of PNG files of one size, which stays on the last one for two seconds and begins anew."""
    images = [Image.open(path).convert("RGB").quantize(colours) for path in frames]
    buffer = io.BytesIO()
    images[0].save(
        buffer, "GIF", save_all=True, append_images=images[1:], loop=0, optimize=True,
        duration=[*[milliseconds] * (len(images) - 1), 2000],
    )
    return buffer.getvalue()
