"""The report on what is on disk: tables, figures, a page of markdown and one of HTML."""

from collections.abc import Sequence
from pathlib import Path

from custom_pkg.files import write_atomically, write_json
from custom_pkg.terminal import format_table
from experiments.catalogue import DATA_SETS, METHODS, PAPER_DATA, QUICK_DATA
from reporting import own_runs, page, reproduction, tables
from reporting.collect import FinishedRun, collect, read_runs
from reporting.figures import draw_all
from reporting.grid import QUICK_LABEL


def report(
    source: Path, target: Path, *, label: str | None = None, readme: Path | None = None, own: Sequence[str] = ()
) -> str:
    """Collect the finished runs below `source` into `target`, build everything there from `target` alone.

    label: marks what is not the published experiment. readme: it gets the tables between its marks, and docs/report.md
    beside it is made. own: descriptions of runs to show beside the paper's. Returns what to print.
    """
    lines = collect(source, target, published_only=label is None)
    target.mkdir(parents=True, exist_ok=True)
    own_runs.take(own, target)
    beside = own_runs.read(target, own)
    with own_runs.shown_as_methods(beside):
        return "\n".join([*lines, *_build([*read_runs(target), *beside], target, label, readme)])


def _build(runs: list[FinishedRun], target: Path, label: str | None, readme: Path | None) -> list[str]:
    lines = []
    found = build_tables(runs, label)
    datasets = list(found["quantitative"])
    figures = draw_all(runs, datasets, target / "figures", label)
    write_json(target / "tables.json", found)
    for name, text in (
        ("tables.csv", tables.to_csv(found)), ("tables.tex", tables.to_latex(found)),
        *((name, page.render(name, found, figures, runs, target)) for name in ("README.md", "report.html")),
    ):
        write_atomically(target / name, text.encode())
    if readme:
        docs = readme.parent / "docs"
        docs.mkdir(exist_ok=True)
        write_atomically(docs / "report.md", reproduction.render(found, figures, docs).encode())
    if readme and readme.exists():
        before = readme.read_text(encoding="utf-8")
        after = tables.with_tables(before, found)
        if after != before:
            write_atomically(readme, after.encode())
            lines.append(f"new numbers in {readme}")
    for data in datasets:
        header, rows = tables.comparison(found, data, absent_too=DATA_SETS[data].compared or label is not None)
        title = f"{DATA_SETS[data].title}, {label}" if label else DATA_SETS[data].title
        lines += ["", title, format_table(header, rows)]
    lines += ["", f"{len(runs)} runs, {len(figures)} figures; open {target / 'report.html'}"]
    return lines


def build_tables(runs: list[FinishedRun], label: str | None) -> dict:
    """tables.json: the first data set is there even when nothing was run on it, the others when something was."""
    first = QUICK_DATA if label == QUICK_LABEL else PAPER_DATA
    others = sorted({run.data for run in runs if run.kind == "quant" and run.name in METHODS} - {first})
    return tables.build(runs, label, [first, *others])
