"""Runs from Python: a trained model with its options and its data, and all runs as a table.

    from experiments.runs import load_run, results_frame

    run = load_run("quant/mnist/disenib")
    images, labels = run.data.sets["test"]
    logits = run.model.classifier()(images)
"""

import os
import re
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from custom_pkg import checkpoints
from custom_pkg.compute import exact_and_repeatable, pick_device
from custom_pkg.errors import UserError, first_line
from custom_pkg.files import read_json
from custom_pkg.options import ONCE, RunOptions, shown
from custom_pkg.run_folder import STORAGE, RunFolder, script_of
from custom_pkg.terminal import flatten
from experiments.experiment import Experiment, Loaded
from experiments.registry import EXPERIMENTS, restored
from modellib.evaluations.protocol import SPLITS
from modellib.model import Model

if TYPE_CHECKING:
    import pandas

DATASETS = RunOptions.__dataclass_fields__["data_root"].default
COMMITTED = Path(__file__).parent.parent / "results"


@dataclass(frozen=True)
class TrainedRun:
    """A run, as one of its checkpoints has it.

    options: those it was trained with, as its script's `Options`. networks: what the model is made of, by the names in
    checkpoints. saved: what else the file says of the run: "script", "data" (what it was trained on), "position"
    ("epoch", "step"), "sha256" (of the file).
    """

    path: Path
    options: RunOptions
    model: Model = field(repr=False)
    networks: dict[str, nn.Module] = field(repr=False)
    device: torch.device
    saved: dict = field(repr=False)

    @property
    def experiment(self) -> Experiment:
        return EXPERIMENTS[self.saved["script"]]

    @cached_property
    def data(self) -> Loaded:
        """The images that it was trained on, fetched first where they are missing. Raises UserError for others."""
        loaded = self.experiment.load(self.options, self.device)
        if self.saved["data"].get("sha256") != loaded.data.sha256:
            raise UserError(
                f"{self.path} was trained on other images ({shown(str(self.saved['data'].get('source')))})"
            )
        return loaded

    @property
    def metrics(self) -> dict:
        """What was measured of these weights: in an exported file, or in its run's folder. Empty for nothing."""
        if "metrics" in self.saved:
            return self.saved["metrics"]
        folder, sha256 = RunFolder(at=self.path.parent.parent), self.saved["sha256"]
        for file in (folder.evaluation, folder.path / f"evaluation-{self.path.stem}.json"):
            found = read_json(file) if file.exists() else {}
            same = all(found.get(name) == count for name, count in self.saved["position"].items())
            if same and found.pop("checkpoint_sha256", sha256) == sha256:
                return found
        return {}

    def evaluate(self, metrics: Collection[str] = (), splits: Sequence[str] = SPLITS) -> dict[str, dict]:
        """Those of `experiment.metrics` that are named, or all: fractions of 1 and nats, as in evaluation.json.

        Raises UserError for a metric or a set that there is not. What is outside the distribution goes with "test".
        """
        metrics, splits = ([names] if isinstance(names, str) else list(names) for names in (metrics, splits))
        known = (*self.experiment.metrics, *self.experiment.on_request)
        for name, choices in (*((metric, known) for metric in metrics), *((split, SPLITS) for split in splits)):
            if name not in choices:
                raise UserError(f"{shown(str(name))} cannot be evaluated: there are {', '.join(choices)}")
        exact_and_repeatable()
        return self.experiment.evaluate(
            self.model, self.data, options=self.options, metrics=metrics or self.experiment.metrics, splits=splits
        )


def name_complaint(path: Path) -> str | None:
    """What is wrong with the name of a file of weights, or None: what is measured of it is called like it."""
    plain = re.fullmatch(r"[\w.=,+-]{1,100}", path.stem)
    return None if plain else "its name becomes that of a file, and must be a plain one"


def read_run(path: Path, device: torch.device) -> TrainedRun:
    """The run in a file. Raises UserError."""
    saved = checkpoints.load_run(path)
    options, model, networks = restored(saved, path)
    del saved["state"], saved["logs"]  # with all that only training needs
    return TrainedRun(path, options, model.to(device), networks, device, saved)


def place_of_data(options: RunOptions) -> str:
    """Where a run's data set lies: where it was trained, if that folder is here, or where data sets are put."""
    return options.data_root if Path(options.data_root).is_dir() else DATASETS


def load_run(
    which: str | Path, *, seed: int = 0, checkpoint: str = "last", data_root: str | Path = "", device: str = "auto",
) -> TrainedRun:
    """A trained run: a file of weights, a run's folder, or a description inside STORAGE/experiments.

    seed: of a description. checkpoint: of a folder or description, "last", "best", "previous" or "step5000".
    data_root: where its data set lies or is put, if it is not where the run had it.
    Raises UserError where there is no such run, or none that fits.
    """
    path = Path(os.path.expanduser(which))
    if not path.is_file():
        named = STORAGE / "experiments" / path
        places = [RunFolder(at=at) for at in (path, path / f"seed{seed}", named, named / f"seed{seed}")]
        folder = next((place for place in places if place.exists()), None)
        if folder is None:
            raise UserError(f"{shown(str(which))} is neither a file nor a run, here or in {STORAGE.absolute()}/"
                            "experiments: check the description and the seed, or train that run first")
        path = folder.checkpoints / f"{checkpoint}.pt"
        if not path.is_file():
            there = sorted(file.stem for file in folder.checkpoints.glob("*.pt"))
            words = f"there are {', '.join(there)}" if there else "it has none; results/models has trained weights"
            raise UserError(f"{folder.path} has no checkpoint {shown(checkpoint)}: {words}")
    run = read_run(path, pick_device(device))
    for network in run.model.modules():
        network.eval()
    return replace(run, options=replace(run.options, data_root=str(data_root or place_of_data(run.options))))


def results_frame(*folders: str | Path) -> "pandas.DataFrame":
    """A row for every finished run below the folders: where it lies, its script, its options, its final metrics.

    folders: STORAGE/experiments here and the project's own results/ when none is given. "desc" and "seed" are where it
    lies in them. Metrics are named as in TensorBoard ("test/accuracy", "ood/gauss/auroc"), in fractions of 1 and nats.
    A run whose files are damaged is left out, with a warning. Raises ImportError without pandas.
    """
    try:
        import pandas
    except ImportError:
        raise ImportError("results_frame makes a pandas.DataFrame: pip install pandas") from None
    rows = []
    for root in map(Path, folders or (STORAGE / "experiments", COMMITTED)):
        for file in sorted(root.rglob("evaluation.json")):
            try:
                rows.append(_row(file.parent, root))
            except (UserError, AttributeError, TypeError, ValueError) as error:
                warnings.warn(f"{file.parent} is left out: {first_line(error)}", stacklevel=2)
    return pandas.DataFrame(rows)


def _row(folder: Path, root: Path) -> dict:
    config = read_json(folder / "config.json")
    script = script_of(config)
    options = {key: value for key, value in config["options"].items() if key not in ONCE}
    lies = {"desc": folder.parent.relative_to(root).as_posix(), "seed": options.get("rand_seed")}
    return {"folder": str(folder), "script": script and script.removesuffix(".py"), **options, **lies} | flatten(
        read_json(folder / "evaluation.json")
    )
