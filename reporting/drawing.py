"""A figure of matplotlib as SVG in a page: dark in the dark, panels one below the other on a phone, values to point at.

The whole figure stands in the page once. On a narrow screen it is shown panel by panel, each a window on it.
"""

import io
import json
import re
from collections.abc import Iterable
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.transforms import Bbox

MOST = 40  # points of a line that can be pointed at
PAD = 4  # around a panel, in points
COLOURS = {  # of the drawing -> of the page, which are others in the dark
    "#000000": "currentColor", "#262626": "currentColor", "#ffffff": "var(--page)", "#4c4c4c": "var(--dim)",
    "#595959": "var(--dim)", "#666666": "var(--dim)", "#737373": "var(--dim)", "#999999": "var(--dim)",
    "#e6e6e6": "var(--shade)", "#b0b0b0": "var(--grid)", "#cccccc": "var(--grid)",
    "#0072b2": "var(--blue)", "#882255": "var(--wine)",
}


class Drawing(NamedTuple):
    """inner: what lies between the <svg> tags. whole, panels: windows on it (x, y, width, height), in points.

    values: JSON, a list of [what, name of x, name of y, [[x, y, value of x, value of y], ...]] to point at.
    """

    inner: str
    whole: tuple[float, ...]
    panels: list[tuple[float, ...]]
    values: str


def as_drawing(figure, prefix: str) -> Drawing:
    """Of a figure that has been drawn, without its title. prefix: of the ids in it, which are unique in the page."""
    file = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        figure.savefig(file, format="svg", dpi=72, metadata=nothing, transparent=True)
    scale, (width, height) = 72 / figure.dpi, (72 * float(length) for length in figure.get_size_inches())
    renderer = figure.canvas.get_renderer()

    def window(boxes: Iterable) -> tuple[float, ...]:
        box = Bbox.union(list(boxes))
        left, right = max(0.0, scale * box.x0 - PAD), min(width, scale * box.x1 + PAD)
        top, bottom = max(0.0, height - scale * box.y1 - PAD), min(height, height - scale * box.y0 + PAD)
        return round(left, 1), round(top, 1), round(right - left, 1), round(bottom - top, 1)

    columns: dict[int, list] = {}
    for axes in figure.axes:  # those that stand one below the other belong together
        columns.setdefault(round(axes.get_window_extent().x0 / 20), []).append(axes.get_tightbbox(renderer))
    columns |= {-i: [legend.get_window_extent(renderer)] for i, legend in enumerate(figure.legends, 1)}
    values = [series for axes in figure.axes for series in _series(axes, scale, height)]
    return Drawing(
        _inner(file.getvalue(), prefix), window(box for boxes in columns.values() for box in boxes),
        [window(boxes) for boxes in columns.values()], json.dumps(values, ensure_ascii=False, separators=(",", ":")),
    )


def _series(axes, scale: float, height: float) -> Iterable[list]:
    """What can be pointed at in one panel: lines and marks that have a label of ours."""
    for artist in (*axes.lines, *axes.collections):
        label = str(artist.get_label())
        if re.match(r"_?child\d|_nolegend_$", label):  # matplotlib's own names
            continue
        points = artist.get_xydata() if hasattr(artist, "get_xydata") else artist.get_offsets()
        points = np.asarray(points, float)
        if not len(points):
            continue
        chosen = np.unique(np.linspace(0, len(points) - 1, min(MOST, len(points))).round().astype(int))
        pixels = axes.transData.transform(points[chosen]) * scale
        yield [label.removeprefix("_"), axes.get_xlabel(), axes.get_ylabel(), [
            [round(float(x), 1), round(float(height - y), 1), *(float(f"{value:.4g}") for value in values)]
            for (x, y), values in zip(pixels, points[chosen], strict=True) if np.isfinite([x, y]).all()
        ]]


def _inner(svg: str, prefix: str) -> str:
    """Without frame, comments and ids that nothing refers to; fonts and greys are those of the page."""
    inner = re.sub(r"<!--.*?-->", "", svg[svg.index("<g ", svg.index("</metadata>") if "</metadata>" in svg else 0):
                                          svg.rindex("</svg>")], flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", inner))
    inner = re.sub(r' id="([^"]+)"', lambda found: f' id="{prefix}{found[1]}"' if found[1] in used else "", inner)
    inner = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{prefix}", inner)
    inner = re.sub(r"font-family: [^;\"]*;? ?", "", inner)
    inner = re.sub(r"font: (?:(\w+) )?([\d.]+px) [^;\"]*", r"font-size: \2; font-weight: \1", inner)
    inner = re.sub(r"#[0-9a-f]{6}", lambda colour: COLOURS.get(colour[0], colour[0]), inner)
    inner = re.sub(r"(?<=\d\.\d\d)\d+(?![^<>]*</text>)", "", inner)  # a hundredth of a point is enough
    return re.sub(r"\s*\n\s*", "\n", inner).replace("xlink:href", "href")
