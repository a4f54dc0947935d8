"""How a training starts: everything is checked before anything is written."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from custom_pkg.compute import (
    GlobalGenerators,
    choose_products,
    exact_and_repeatable,
    keep_freed_memory,
    pick_device,
    products,
)
from custom_pkg.errors import DiskFailed, RunFailed, StopRequest, UserError, disk_trouble
from custom_pkg.files import read_json
from custom_pkg.options import RunOptions
from custom_pkg.run_folder import RunFolder
from custom_pkg.training_run import Start
from dataloader import DATASETS, FACTORED
from experiments.experiment import Loaded
from experiments.registry import EXPERIMENTS
from experiments.run_table import beside_the_paper


@contextmanager
def started(script: str, options: RunOptions) -> Iterator[tuple[Start, Loaded]]:
    """Check the options against the machine and the disk, load the data, and hold the run's folder for the training.

    script: the training script's name, without .py. Nothing is written before all checks have passed. A finished run
    that is resumed shows its table, and the script ends. Raises UserError and RunFailed.
    """
    device = pick_device(options.device)
    folder = RunFolder(options.desc, options.rand_seed)
    folder.check(options)
    if folder.only_shown(options):
        show_results(Start(script, options, {}, device, folder, StopRequest()))
        sys.exit()
    known = (DATASETS | FACTORED)[getattr(options, "dataset", script.rsplit("_", 1)[1])]
    check_batch_size(options, known.n_train)
    keep_freed_memory()
    exact_and_repeatable()
    loaded = EXPERIMENTS[script].load(options, device)
    check_batch_size(options, len(loaded.data.train.labels))
    rows = getattr(options, "batch_size", 1) * getattr(options, "n_samples", 1)
    choose_products(device, rows, folder.products() if options.resume else None)
    GlobalGenerators.seed(options.rand_seed)
    with folder.open(options), StopRequest() as stop:
        try:
            yield Start(script, options, loaded.data.record(), device, folder, stop), loaded
        except (DiskFailed, OSError) as error:
            trouble = disk_trouble(error) if isinstance(error, OSError) else str(error)
            last = folder.last_checkpoint
            saved = f"{last} is intact" if last.exists() else "no checkpoint had been written yet"
            raise RunFailed(f"{trouble}; {saved}: once that is mended, go on with --resume") from None


def check_batch_size(options: RunOptions, n_train: int) -> None:
    for name in ("batch_size", "est_batch_size"):
        if (given := getattr(options, name, 0)) > n_train:
            raise UserError(f"--{name}={given}: the training set has {n_train} images")


def show_results(start: Start) -> None:
    """Print the last words of a finished run again. Raises UserError for a file that holds no results."""
    evaluation = start.folder.evaluation
    try:
        words = closing(read_json(evaluation), start)
    except (UserError, KeyError, TypeError, ValueError, AttributeError):
        raise UserError(
            f"{evaluation} does not hold the metrics of a run: delete it, and --resume evaluates again"
        ) from None
    print(words)


def closing(results: dict, start: Start) -> str:
    """The last words of a run: its table, where everything is, and what can be done next."""
    folder, options = start.folder, start.options
    seed = f" --rand_seed={options.rand_seed}" if options.rand_seed else ""
    other = "best" if folder.best_checkpoint.exists() else "previous"
    return (
        f"{beside_the_paper(results, start.script, options)}\n\neverything is in {folder.path.absolute()}; next\n"
        f"  python evaluate.py --desc={options.desc}{seed} --checkpoint={other}\n"
        f"  tensorboard --logdir={folder.tensorboard}"
    )


def introduction(what: str, start: Start, loaded: Loaded, step: int) -> str:
    """The first lines of a run: what, from where on, on which data, where."""
    data = loaded.data
    by = f", products by {products()}" if products() != "default" else ""
    return (
        f"{what}, {f'from step {step} on' if step else 'from the start'}\n"
        f"{data.name}: {len(data.train.labels)} training and {len(data.test.labels)} test images, {data.source}\n"
        f"on {start.device} with {torch.get_num_threads()} threads{by}, in {start.folder.path.absolute()}"
    )
