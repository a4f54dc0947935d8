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
