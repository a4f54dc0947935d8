"""What finished runs left on disk: the small files of it kept in results/, and read from there."""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from custom_pkg.errors import UserError
from custom_pkg.files import read_json, write_atomically, write_json
from custom_pkg.pictures import animation
from custom_pkg.terminal import flatten
from experiments import robust_accuracy
from experiments.catalogue import METHODS, PAPER_DATA, compared
from experiments.evaluation_files import joined, read_or_empty
from experiments.option_groups import NOT_THE_EXPERIMENT
from reporting.grid import NAMES, Run, published_grid, sweep_grid

KEPT = ("config.json", "times.json", "evaluation*.json", "detection-curves*.json")
MAX_LINES = 300  # of metrics.jsonl: enough for a curve
MAX_FRAMES = 9  # of the animation of swaps over training: a megabyte or two
KINDS = {
    "quant": "", "disentangling": "", "sweep": r"/(?P<swept>[a-z_]+)=(?P<value>-?\d+(\.\d+)?(e[+-]?\d+)?)",
    "held-out": "", "ablations": "",
}


@dataclass(frozen=True)
class Place:
    """What the folder of a run says of it."""

    kind: str  # of KINDS
    data: str
    name: str  # of the model
    swept: str  # the option of a sweep, and its value; else "" and 0
    value: float
    seed: int

    @classmethod
    def of(cls, where: str) -> "Place | None":
        """Of a path below the experiments, like quant/mnist/vib/seed0; None if it is no run's."""
        for kind, own in KINDS.items():
            found = re.fullmatch(rf"{kind}/(?P<data>[^/]+)/(?P<name>[^/]+){own}/seed(?P<seed>\d+)", where)
            if found:
                swept, value = (found.groupdict().get(part) or "" for part in ("swept", "value"))
                number = int(value or 0) if re.fullmatch(r"-?\d*", value) else float(value)
                return cls(kind, found["data"], found["name"], swept, number, int(found["seed"]))
        return None

    def run(self) -> Run | None:
        """The run of the grid, or of a sweep, that belongs there."""
        if self.kind == "sweep":
            model, _, hfunc = self.name.partition("-")
            candidates = sweep_grid(self.swept, [self.value], (self.seed,), self.data, model, hfunc)
        else:
            data = self.data if self.data in compared() else PAPER_DATA
            candidates = published_grid(NAMES, (self.seed,), data)
        here = [self.kind, self.data, self.name]
        return next((run for run in candidates if run.desc.split("/")[:3] == here), None)


@dataclass(frozen=True)
class FinishedRun(Place):
    """A finished run, as its files tell it; evaluations are flat."""

    where: str  # its folder, below that of all results
    config: dict
    evaluation: dict[str, float]
    others: dict[str, dict[str, float]]  # evaluation-<name>.json, by name
    times: dict[str, float]
    metrics: list[dict[str, float]]
    curves: dict[str, dict]  # of detection, by outside set
    pictures: dict[str, Path]


def finished(root: Path) -> dict[Path, Place]:
    """The folders of the finished runs of the paper below `root`."""
    found = {}
    for kind in KINDS:
        for file in sorted((root / kind).rglob("evaluation.json")):
            place = Place.of(file.parent.relative_to(root).as_posix())
            if place and (file.parent / "config.json").is_file():
                found[file.parent] = place
    return found


def collect(source: Path, target: Path, *, published_only: bool = True) -> list[str]:
    """Copy the small files of every finished run to the same place below `target`; says what was done, a line a run.

    published_only: leave out runs with other settings than the grid's. A damaged one is always left out.
    """
    lines = []
    for folder, place in finished(source).items():
        where = folder.relative_to(source)
        try:
            reason = _why_not(folder, place.run()) if published_only else None
            for file in folder.glob("*.json"):
                _read(file)
            _lines(folder / "metrics.jsonl")
        except UserError as error:
            reason = str(error)
        if reason:
            lines.append(f"left out {where}: {reason}")
            continue
        evaluation = target / where / "evaluation.json"
        before = evaluation.read_bytes() if evaluation.exists() else None
        if before is None:
            lines.append(f"collected {where}")
        elif before != (folder / "evaluation.json").read_bytes():
            shutil.rmtree(target / where)  # of another run of this name, and so are the files beside it
            lines.append(f"collected {where}, in place of other numbers")
        copy_small_files(folder, target / where)
    return lines


def _why_not(folder: Path, run: Run | None) -> str | None:
    """Why what lies in the folder is not that run of the grid, if it is not."""
    if run is None:
        return "not a run of the grid"
    options = _read(folder / "config.json").get("options", {})
    others = run.differences(options, NOT_THE_EXPERIMENT)
    return f"made with {' '.join(others)}" if others else None


def copy_small_files(folder: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for pattern in KEPT:
        for file in folder.glob(pattern):
            kept, now = target / file.name, _read(file)
            later = file.name.startswith(("evaluation-", "detection-curves-"))
            if later and (found := joined(read_or_empty(kept), now)) != now:
                write_json(kept, found)  # it has less than was kept of that checkpoint
            else:
                shutil.copyfile(file, kept)
    if (folder / "metrics.jsonl").exists():
        lines = (folder / "metrics.jsonl").read_bytes().splitlines(True)
        (target / "metrics.jsonl").write_bytes(b"".join(thinned(lines)))
    pictures = folder / "disentangling"
    kept = {name: pictures / name for name in ("held-out.png", "interpolation.png")}
    if fixed := sorted(pictures.glob("fixed-step*.png")):
        kept["fixed.png"] = fixed[-1]
        small = animation(thinned(fixed, MAX_FRAMES), milliseconds=500, colours=64)
        write_atomically(target / "training.gif", small)
    for name, file in kept.items():
        if file.exists():
            shutil.copyfile(file, target / name)


def thinned(items: Sequence, most: int = MAX_LINES) -> list:
    """At most so many of the items, evenly spread, with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def read_runs(root: Path) -> list[FinishedRun]:
    """The finished runs below `root`, in the order of the grid."""
    runs = [read_run(root, folder, place) for folder, place in finished(root).items()]
    kinds, models = list(KINDS), list(METHODS)
    return sorted(runs, key=lambda run: (
        kinds.index(run.kind), run.data, models.index(run.name) if run.name in models else len(models),
        run.name, run.swept, run.value, run.seed,
    ))


def read_run(root: Path, folder: Path, place: Place) -> FinishedRun:
    curves = _read(folder / "detection-curves-last.json") | _read(folder / "detection-curves.json")
    return FinishedRun(
        **asdict(place), where=folder.relative_to(root).as_posix(),
        config=_read(folder / "config.json"),
        evaluation=flatten(_read(folder / "evaluation.json")),
        others={
            file.stem.removeprefix("evaluation-"): flatten(_without_trials(_read(file)))
            for file in sorted(folder.glob("evaluation-*.json"))
        },
        times=_read(folder / "times.json"),
        metrics=_lines(folder / "metrics.jsonl"),
        curves={name: curve for name, curve in curves.items() if isinstance(curve, dict)},
        pictures={file.name: file for file in (*folder.glob("*.png"), *folder.glob("*.gif"))},
    )


def _without_trials(evaluation: dict) -> dict:
    """What evaluate.py has measured, but for a robustness of a few images or attacks, which is no worst case."""
    trial = robust_accuracy.is_trial(evaluation.get("robustness", {}))
    return {key: value for key, value in evaluation.items() if key != "robustness" or not trial}


def of(runs: Sequence[FinishedRun], kind: str, data: str, name: str | None = None) -> list[FinishedRun]:
    """Those of a kind and a data set, and of one model if it is named."""
    return [run for run in runs if (run.kind, run.data, name or run.name) == (kind, data, run.name)]


def sweeps(runs: Sequence[FinishedRun]) -> dict[tuple[str, str, str], list[FinishedRun]]:
    """(data set, model, option) -> the points of its sweep, the paper's models first, and those of most points."""
    found: dict[tuple[str, str, str], list[FinishedRun]] = {}
    for run in runs:
        if run.kind == "sweep":
            found.setdefault((run.data, run.name, run.swept), []).append(run)
    return dict(sorted(found.items(), key=lambda item: (_of_a_reference(item[1][0]), -len(item[1]))))


def title_of_curve(name: str) -> str:
    """What a run of a sweep is a run of. name: like vib-pow, after its model and h."""
    model, _, hfunc = name.partition("-")
    title = METHODS[model].title
    return {"none": title, "pow": f"squared-{title}"}.get(hfunc, f"{title}, h = {hfunc}")


def _of_a_reference(run: FinishedRun) -> bool:
    """A run of a sweep is named like vib-pow, after its model and h."""
    model = run.name.partition("-")[0]
    return model in METHODS and METHODS[model].reference


def _read(path: Path) -> dict:
    try:
        return read_json(path) if path.exists() else {}
    except UserError:
        raise _damaged(path) from None


def _lines(path: Path) -> list[dict]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    except ValueError:
        raise _damaged(path) from None


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is damaged: bring it back, or delete its folder and run that again")
