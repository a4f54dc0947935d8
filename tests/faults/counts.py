"""Prints how many faults of each kind the tests of this folder try: python tests/faults/counts.py

Counted from the tests themselves, as pytest collects them, with the inputs that hypothesis makes up.
"""

import contextlib
import io
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).parent


class Collected:
    """A plugin that counts what is tried, by the module it is in."""

    def __init__(self):
        self.tried = Counter()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            self.tried[item.module] += getattr(item.function, "n_inputs", 1)


def table() -> str:
    collected = Collected()
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = pytest.main(["--collect-only", "-p", "no:cacheprovider", str(HERE)], plugins=[collected])
    assert status == pytest.ExitCode.OK, said.getvalue()
    lines = ["| what is done to it | tried | by |", "|---|---|---|"]
    for module, n in sorted(collected.tried.items(), key=lambda each: each[0].__name__):
        what = module.__doc__.split("\n")[0].rstrip(".")
        name = f"faults/{Path(module.__file__).name}"
        lines.append(f"| {what} | {n:,} | [{Path(name).name}](../tests/{name}) |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
