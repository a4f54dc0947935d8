"""Any finished run beside those of the paper: a column of the tables and a mark in the figures of a report of its own.

Such a run is shown by its description, wherever a method stands otherwise; as "own vib" if a method is called so, too.
"""

import difflib
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from custom_pkg.errors import UserError
from custom_pkg.files import read_json
from custom_pkg.options import shown
from custom_pkg.run_folder import STORAGE, script_of
from experiments.catalogue import DATA_SETS, METHODS, Method
from modellib.ib_lagrangian import MODELS
from reporting.collect import FinishedRun, Place, copy_small_files, read_run

FOLDER = "own"  # of the report
COLOURS = ("#7570B3", "#A6761D", "#E7298A", "#666666", "#1B9E77", "#E41A1C")
MARKERS = "hp<>8d"


def folders_of(desc: str) -> list[Path]:
    """Where the finished runs of a description lie, by seed."""
    found = (file.parent for file in (STORAGE / "experiments" / desc).glob("seed*/evaluation.json"))
    return sorted(folder for folder in found if (folder / "config.json").is_file() and _is_seed(folder))


def check(desc: str, stages: Sequence[str]) -> None:
    """Raise UserError for what --with cannot add."""
    folders = folders_of(desc)
    if not folders:
        root = STORAGE / "experiments"
        there = {str(file.parents[1].relative_to(root)) for file in root.glob("**/seed*/evaluation.json")}
        near = difflib.get_close_matches(desc, [*stages, *sorted(there)], n=1)
        raise UserError(
            f"--with={shown(desc)}: neither a stage ({', '.join(stages)}) nor a finished run in {root}/"
            + (f"; did you mean {near[0]}?" if near else "")
        )
    for folder in folders:
        try:
            run = _read_run(folder.parent, folder, desc)
            whole = all(isinstance(run.config[part], dict) for part in ("options", "machine", "versions"))
            whole &= {type(run.evaluation[name]) for name in ("epoch", "step")} == {int} and "command" in run.config
            whole &= not any(isinstance(value, str) for key, value in run.evaluation.items() if "/" in key)
        except (KeyError, TypeError, AttributeError, ValueError, UserError):
            whole = False
        if not whole:
            raise UserError(f"--with={shown(desc)}: the files of {folder} are damaged: bring them back, or evaluate or "
                            "train that run again")
        if run.data not in DATA_SETS:
            raise UserError(f"--with={shown(desc)}: {folder} is of a data set that the report does not know")


def take(descs: Sequence[str], target: Path) -> None:
    """Copy the small files of the runs into the report's folder, in the place of those that were there."""
    shutil.rmtree(target / FOLDER, ignore_errors=True)
    for desc in descs:
        for folder in folders_of(desc):
            copy_small_files(folder, target / FOLDER / desc / folder.name)


def read(target: Path, descs: Sequence[str]) -> list[FinishedRun]:
    """The runs that were taken into the report's folder."""
    folders = ((desc, folder) for desc in descs for folder in sorted((target / FOLDER / desc).glob("seed*")))
    return [_read_run(target, folder, desc) for desc, folder in folders if _is_seed(folder)]


def _is_seed(folder: Path) -> bool:
    return bool(re.fullmatch(r"seed\d+", folder.name))


def _read_run(root: Path, folder: Path, desc: str) -> FinishedRun:
    config = read_json(folder / "config.json")
    kind = "quant" if _script(config) in ("train_lagrangian", "train_disenib") else "disentangling"
    name = f"own {desc}" if desc in METHODS else desc
    place = Place(kind, _data(config), name, "", 0, int(folder.name.removeprefix("seed")))
    return read_run(root, folder, place)


@contextmanager
def shown_as_methods(runs: Sequence[FinishedRun]) -> Iterator[None]:
    """Tables and figures find a method's record, its title, colour and mark, for each of the descriptions meanwhile."""
    own = {}
    for number, run in enumerate({run.name: run for run in runs}.values()):
        script = _script(run.config)
        model = run.config["options"].get("model")
        own[run.name] = Method(
            run.name, run.name, "", COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)], script=script,
            code=MODELS[model].code if script == "train_lagrangian" else "mean", reference=True,
        )
    METHODS.update(own)
    try:
        yield
    finally:
        for name in own:
            del METHODS[name]


def _script(config: dict) -> str:
    return (script_of(config) or "").removesuffix(".py")


def _data(config: dict) -> str:
    return config.get("data", {}).get("name", "")
