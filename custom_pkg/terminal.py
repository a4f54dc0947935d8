"""Streams that no print can fail on, progress bars and plain tables.

Bars are for a terminal; where output is piped, the logs tell.
"""

import io
import os
import sys
from collections.abc import Callable, Iterable, Sequence

from tqdm import tqdm


class _Patient(io.FileIO):
    """A stream whose reader may go away and whose disk may be full: what it does not take is dropped."""

    def write(self, content) -> int:
        try:
            return super().write(content) or len(content)
        except OSError:
            return len(content)


def no_print_may_fail() -> None:
    """Make the standard streams of this process such that drop what nobody takes, and show ? for what they cannot."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by who started us; what is opened next would get its number, and what is printed
            number, encoding, buffered = os.open(os.devnull, os.O_RDWR), "utf-8", True
        elif stream is getattr(sys, f"__{name}__") and name != "stdin":
            number, encoding, buffered = stream.fileno(), stream.encoding, not stream.line_buffering
        else:
            continue
        if name != "stdin":
            file = io.BufferedWriter(_Patient(number, "w", closefd=False))
            setattr(sys, name, io.TextIOWrapper(file, encoding, errors="replace", line_buffering=not buffered))


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
