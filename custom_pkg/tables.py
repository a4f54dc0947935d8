"""Plain tables for the terminal."""

from collections.abc import Sequence


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
