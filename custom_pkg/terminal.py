"""Progress bars and plain tables. Bars are for a terminal; where output is piped, the logs tell."""

import sys
from collections.abc import Callable, Iterable, Sequence

from tqdm import tqdm


def bar(items: Iterable, what: str, *, total: int | None = None, initial: int = 0, unit: str = "it") -> Iterable:
    """Iterate with a bar that shows rate and remaining time; it vanishes when it is full."""
    shown = sys.stderr.isatty()
    return tqdm(items, what, total=total, initial=initial, unit=unit, leave=False, disable=not shown, smoothing=0.1)


def announced_bar(what: str) -> Callable[[Iterable], Iterable]:
    """A wrapper for the batches of one longer piece of work: a bar on a terminal, one plain line when piped."""
    if not sys.stderr.isatty():
        print(what, file=sys.stderr, flush=True)
    return lambda batches: bar(batches, what, unit="batch")


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        return "  ".join((cells[0].ljust(len(first)), *others)).rstrip()

    return "\n".join((line(header), "  ".join("-" * width for width in widths), *map(line, rows)))


def flatten(nested: dict) -> dict[str, float]:
    """{"train": {"fgsm": {"0.1": x}}} -> {"train/fgsm/0.1": x}."""
    flat = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            flat |= {f"{key}/{inner}": leaf for inner, leaf in flatten(value).items()}
        else:
            flat[key] = value
    return flat
