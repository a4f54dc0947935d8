"""How a training starts: everything is checked before anything is written."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from custom_pkg import options as opt
from custom_pkg.compute import exact_and_repeatable, keep_freed_memory, pick_device
from custom_pkg.errors import DiskFailed, RunFailed, StopRequest, UserError, disk_trouble
from custom_pkg.files import read_json
from custom_pkg.options import FREE_AT_RESUME
from custom_pkg.run_folder import RunFolder
from experiments.experiment import Experiment, Loaded
from experiments.registry import EXPERIMENTS
from experiments.run_table import published_for, results_table


class Start(NamedTuple):
    """What a training begins with."""

    script: str
    experiment: Experiment
    folder: RunFolder
    loaded: Loaded
    device: torch.device
    stop: StopRequest


def start_training(script: str, options, train: Callable[[object, Start], None]) -> None:
    """Check the options against the machine and the disk, load the data, hold the run's folder, and call `train`.

    script: the training script's name, without .py. Nothing is written before all checks have passed. A finished run
    that is resumed shows its table. Raises UserError, DatasetError and RunFailed.
    """
    device = pick_device(options.device)
    folder = RunFolder(options.desc, options.rand_seed)
    settings = opt.to_dict(options)
    check = partial(folder.check, settings, resume=options.resume, overwrite=options.overwrite, free=FREE_AT_RESUME)
    check()
    if options.resume and folder.evaluation.exists():
        show_results(folder.evaluation, published_for(script, settings))
        return
    keep_freed_memory()
    exact_and_repeatable()
    experiment = EXPERIMENTS[script]
    loaded = experiment.load(settings, Path(options.data_root), device)
    n_train = len(loaded.data.train.labels)
    if options.batch_size > n_train:
        raise UserError(f"--batch_size={options.batch_size}: the training set has {n_train} images")
    with folder.open(overwrite=options.overwrite, check=check), StopRequest() as stop:
        try:
            train(options, Start(script, experiment, folder, loaded, device, stop))
        except (DiskFailed, OSError) as error:
            trouble = disk_trouble(error) if isinstance(error, OSError) else str(error)
            last = folder.last_checkpoint
            saved = f"{last} is intact" if last.exists() else "no checkpoint had been written yet"
            raise RunFailed(f"{trouble}; {saved}: once that is mended, go on with --resume") from None


def show_results(evaluation: Path, published: dict | None) -> None:
    """Print the table of a finished run. Raises UserError for a file that holds none."""
    try:
        table = results_table(read_json(evaluation), published)
    except (UserError, KeyError, TypeError, ValueError, AttributeError):
        raise UserError(
            f"{evaluation} does not hold the metrics of a run: delete it, and --resume evaluates again"
        ) from None
    print(table)


def introduction(what: str, start: Start, step: int) -> str:
    """The first lines of a run: what, from where on, on which data, where."""
    data = start.loaded.data
    return (
        f"{what}, {f'from step {step} on' if step else 'from the start'}\n"
        f"{data.name}: {len(data.train.labels)} training and {len(data.test.labels)} test images, {data.source}\n"
        f"on {start.device} with {torch.get_num_threads()} threads, in {start.folder.path}"
    )
