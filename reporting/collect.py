"""What finished runs left on disk: the small files of it kept in results/, and read from there."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from custom_pkg.errors import UserError
from custom_pkg.tables import flatten
from reporting.grid import QUANTITATIVE, Run, foreign_flags, published_grid, sweep_grid

KEPT = ("config.json", "times.json", "evaluation*.json", "detection-curves*.json")
MAX_LINES = 300  # of metrics.jsonl: enough for a curve
MAX_GIF = 1_500_000  # bytes
PATTERNS = ("quant/*/*/seed*", "disentangling/*/*/seed*", "sweep/*/*/lambda_kl=*/seed*")
DATASETS = ("mnist", "fashion_mnist")


def finished(root: Path) -> list[Path]:
    """The folders of the finished runs of the paper below `root`."""
    return [
        folder for pattern in PATTERNS for folder in sorted(root.glob(pattern))
        if (folder / "evaluation.json").is_file() and (folder / "config.json").is_file()
    ]  # fmt: skip


def collect(source: Path, target: Path, *, published_only: bool = True) -> list[str]:
    """Copy the small files of every finished run to the same place below `target`; says what was done, a line a run.

    published_only: leave out runs with other settings than the grid's.
    """
    lines = []
    for folder in finished(source):
        where = folder.relative_to(source)
        config = _read(folder / "config.json")
        run = grid_run(where)
        others = ["not a run of the grid"] if run is None else [
            f"the published run has no {flag}" for flag in foreign_flags(run, config)
        ]  # fmt: skip
        if published_only and others:
            lines.append(f"left out {where}: {', '.join(others)}")
            continue
        evaluation = target / where / "evaluation.json"
        before = evaluation.read_bytes() if evaluation.exists() else None
        if before is None:
            lines.append(f"collected {where}")
        elif before != (folder / "evaluation.json").read_bytes():
            shutil.rmtree(target / where)  # of another run of this name, and so are the files beside it
            lines.append(f"collected {where}, in place of other numbers")
        _copy(folder, target / where)
    return lines


def grid_run(where: Path) -> Run | None:
    """The run of the grid, or of a sweep, that belongs in the folder <desc>/seed<N>."""
    kind, first, second, *value = where.parts[:-1]
    candidates = published_grid((), (0,), first if first in DATASETS else "mnist")
    if kind == "sweep":
        model, _, hfunc = second.partition("-")
        candidates = sweep_grid([float(value[0].partition("=")[2])], (0,), first, model, hfunc)
    return next((run for run in candidates if run.desc == "/".join(where.parts[:-1])), None)


def _copy(folder: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for pattern in KEPT:
        for file in folder.glob(pattern):
            shutil.copyfile(file, target / file.name)
    if (folder / "metrics.jsonl").exists():
        (target / "metrics.jsonl").write_text("".join(thinned((folder / "metrics.jsonl").read_text().splitlines(True))))
    pictures = folder / "disentangling"
    kept = {name: pictures / name for name in ("held-out.png", "interpolation.png", "training.gif")}
    if fixed := sorted(pictures.glob("fixed-step*.png")):
        kept["fixed.png"] = fixed[-1]
    for name, file in kept.items():
        if file.exists() and not (name.endswith(".gif") and file.stat().st_size > MAX_GIF):
            shutil.copyfile(file, target / name)


def thinned(lines: Sequence[str], most: int = MAX_LINES) -> list[str]:
    """At most so many of the lines, evenly spread, with the first and the last."""
    if len(lines) <= most:
        return list(lines)
    return [lines[round(i * (len(lines) - 1) / (most - 1))] for i in range(most)]


def read_runs(root: Path) -> list[dict]:
    """The finished runs below `root` as plain dicts, in the order of the grid.

    Each has kind ("quant", "disentangling", "sweep"), data, name (of the model), where, seed, config, evaluation (all
    evaluations are flat), others (evaluation-<name>.json by name), times, metrics, curves and pictures (by name).
    """
    runs = []
    for folder in finished(root):
        kind, data, name, *value = folder.relative_to(root).parts[:-1]
        curves = _read(folder / "detection-curves-last.json") | _read(folder / "detection-curves.json")
        runs.append({
            "kind": kind, "data": data, "name": name, "where": folder.relative_to(root).as_posix(),
            "seed": int(folder.name.removeprefix("seed")),
            "lambda_kl": float(value[0].partition("=")[2]) if value else None,
            "config": _read(folder / "config.json"),
            "evaluation": flatten(_read(folder / "evaluation.json")),
            "others": {
                file.stem.removeprefix("evaluation-"): flatten(_read(file))
                for file in sorted(folder.glob("evaluation-*.json"))
            },
            "times": _read(folder / "times.json"),
            "metrics": _lines(folder / "metrics.jsonl"),
            "curves": {name: curve for name, curve in curves.items() if isinstance(curve, dict)},
            "pictures": {file.name: file for file in sorted((*folder.glob("*.png"), *folder.glob("*.gif")))},
        })  # fmt: skip
    order = list(QUANTITATIVE)
    return sorted(runs, key=lambda run: (
        PATTERNS.index(next(p for p in PATTERNS if p.startswith(run["kind"]))), run["data"],
        order.index(run["name"]) if run["name"] in order else 99, run["name"], run["lambda_kl"] or 0, run["seed"],
    ))  # fmt: skip


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text()) if path.exists() else {}
    except ValueError:
        raise UserError(f"{path} is damaged: bring it back, or delete its folder and run that again") from None


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
