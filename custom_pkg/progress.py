"""Progress bars on a terminal, silence when piped (the logs then tell)."""

import sys
from collections.abc import Callable, Iterable

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
