"""Evaluate a checkpoint: every metric of the paper, from the run's own options, with no flag repeated.

    python evaluate.py --desc=quant/mnist/vib
    python evaluate.py --desc=quant/mnist/vib --rand_seed=1 --checkpoint=best --metrics=accuracy,attack --split=test
    python evaluate.py --desc=quant/mnist/vib --code=mean --metrics=detection --split=test
    python evaluate.py --desc=quant/mnist/vib --metrics=robustness --n_images=1000
    python evaluate.py --checkpoint=/home/colleague/vib.pt

Prints a table beside the published figures and writes evaluation-<checkpoint>.json into the run's folder, and the
curves of detection into detection-curves-<checkpoint>.json. A file that is given without --desc needs no run: what is
written lies beside it, or in the run's folder that it is in; where that is read-only, in the folder at hand.
The same checkpoint gives the same numbers as the end of its training did. All metrics of an MNIST run take under a
minute on two CPU cores. Only when it is asked for: probes, what trained classifiers read off DisenIB's codes, a minute,
and robustness, the worst case over many attacks, minutes. Interrupted, the same command goes on where it was.
"""

import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from custom_pkg import options as opt
from custom_pkg.compute import GlobalGenerators, choose_products, exact_and_repeatable, pick_device
from custom_pkg.errors import UserError, first_line, run_script
from custom_pkg.options import (
    LENGTHS,
    RunOptions,
    between,
    desc_complaint,
    device_complaint,
    differences,
    not_negative,
    option,
    place_complaint,
    positive,
    seed_complaint,
    shown,
)
from custom_pkg.run_folder import RunFolder
from experiments import evaluation_files, robust_accuracy
from experiments.experiment import Experiment
from experiments.option_groups import OUTSIDE, ComparisonOptions
from experiments.registry import EXPERIMENTS
from experiments.run_table import beside_the_paper
from experiments.runs import TrainedRun, name_complaint, place_of_data, read_run
from modellib.evaluations.attacks import ATTACKS
from modellib.evaluations.protocol import SPLITS

if TYPE_CHECKING:  # custom_pkg comes before torch
    import torch

NAMED = ("last", "best", "previous")  # checkpoints of a run
METRICS = tuple(dict.fromkeys(
    metric for experiment in EXPERIMENTS.values() for metric in (*experiment.metrics, *experiment.on_request)
))


@dataclass(frozen=True, kw_only=True)
class Options:
    desc: str = option(
        "", group="which run", check=desc_complaint,
        help="the run's folder inside STORAGE/experiments; not needed with --checkpoint=PATH",
    )
    rand_seed: int = option(0, group="which run", check=seed_complaint, help="the run's seed")
    checkpoint: str = option(
        "last", group="which run", help="last (as published), best, previous, or the path of a checkpoint"
    )
    metrics: tuple[str, ...] = option(
        ("all",), group="what", choices=("all", *METRICS, "robustness"),
        help="which metrics: all that take a minute, or some",
        instead={
            "fgsm": "attack", "acc": "accuracy", **dict.fromkeys(("odin", "ood", "auroc", "fpr"), "detection"),
            **dict.fromkeys(("mi", "mutualinformation"), "information"),
            **dict.fromkeys(("pgd", "apgd", "square"), "robustness"),
        },
    )
    split: tuple[str, ...] = option(SPLITS, group="what", choices=SPLITS, help="on which images")
    eval_odin_out_data: tuple[str, ...] = option(
        (), group="what", choices=OUTSIDE,
        help="what lies outside the distribution; [] is what the run was trained with",
    )
    attacks: tuple[str, ...] = option(
        (), group="what", choices=ATTACKS, help="of the metric robustness; [] is all that can be run"
    )
    n_images: int = option(
        robust_accuracy.N_IMAGES, group="what", check=not_negative,
        help="test images that robustness attacks; 0 is all of them",
    )
    eval_attack_epsilons: tuple[float, ...] = option(
        (), group="what", check=positive, help="sizes of all attacks; [] is what the run was trained with"
    )
    eval_batch_size: int = option(
        0, group="what", check=between(0, 100_000), help="images per batch, fewer for less memory; 0 is that of the run"
    )
    transfer_from: str = option(
        "", group="what", help="robustness: checkpoint of a plain model, whose adversarial images are tried too"
    )
    code: str = option(
        "published", group="what", choices=("published", "sample", "mean"),
        help="what information, attacks and detection see: as published for the model, a fresh sample, or the mean",
    )
    data_root: str = option(
        "auto", group="where", check=place_complaint,
        help="where data sets lie or are put; auto is where the run had them, if that is here, or STORAGE/datasets",
    )
    device: str = option("auto", group="where", check=device_complaint, help="auto takes a GPU when there is one")


_GO = "go with the metric robustness, which is not asked for"
ONLY_FOR = {  # option -> the metrics that it is for, and what is said where none of them is asked for
    "attacks": ({"robustness"}, f"--attacks and --transfer_from {_GO}"),
    "transfer_from": ({"robustness"}, f"--attacks and --transfer_from {_GO}"),
    "n_images": ({"robustness"}, "--n_images={} goes with the metric robustness, which is not asked for"),
    "eval_odin_out_data": (
        {"detection"}, "--eval_odin_out_data={} goes with the metric detection, which is not asked for"
    ),
    "eval_attack_epsilons": (
        {"attack", "robustness"}, "--eval_attack_epsilons={} goes with the metric attack, which is not asked for"
    ),
    "code": (
        {"attack", "detection", "information", "robustness"},
        "--code={} is what information, attacks and detection see, and none of them is asked for",
    ),
}


def main() -> None:
    options = opt.parse(Options, description=__doc__)
    if not options.metrics or not options.split:
        raise UserError("--metrics and --split must name at least one metric and one set")
    if "detection" in options.metrics and "test" not in options.split:
        raise UserError("--metrics=detection needs --split=test: what is inside the distribution is the test set")
    if "robustness" in options.metrics and "test" not in options.split:
        raise UserError("--metrics=robustness needs --split=test: the images that it attacks are the test set's")
    device = pick_device(options.device)
    exact_and_repeatable()
    folder = folder_of(options)
    choose_products(device, 100, folder.products())
    run = load_checkpoint(folder, options.checkpoint, device)
    path, saved, experiment = run.path, run.saved, run.experiment
    GlobalGenerators.seed(run.options.rand_seed)
    if options.desc:
        check_same_run(folder, run)
        if run.options.rand_seed != options.rand_seed:
            raise UserError(f"{folder.path} holds a run of seed {run.options.rand_seed}: rename it so")
    metrics = metrics_asked_for(options, experiment)
    own = ("eval_odin_out_data", "eval_attack_epsilons", "eval_batch_size")
    settings = replace(run.options, **{name: given for name in own if (given := getattr(options, name))})
    check_there_is_something(options.metrics, settings)
    source = source_of_the_transfer(options.transfer_from, run) if options.transfer_from else None
    where = place_of_data(run.options) if options.data_root == "auto" else options.data_root
    settings = replace(settings, data_root=where)
    model, loaded = run.model, replace(run, options=settings).data
    if not any(name in loaded.sets for name in options.split):
        raise UserError(f"--split={','.join(options.split)}: of this run's data nothing was held out of training")
    name = name_for(path, saved["sha256"], folder)
    code = None
    if options.code not in ("published", model.code):
        code, model, name = options.code, replace(model, code=options.code), f"{name}-{options.code}-code"
    identity, tables = {"checkpoint_sha256": saved["sha256"], **saved["position"]}, []
    results, curves = {}, None
    try:
        if ordinary := [metric for metric in metrics if metric != "robustness"]:
            results = experiment.evaluate(model, loaded, options=settings, metrics=ordinary, splits=options.split)
            curves = results.pop("ood_curves", None)
            tables.append(beside_the_paper(identity | results, saved["script"], settings, code))
        if "robustness" in metrics and isinstance(settings, ComparisonOptions):
            results["robustness"] = robust_accuracy.measure(
                model, loaded, n_images=options.n_images, epsilons=settings.eval_attack_epsilons,
                attacks=options.attacks, seed=settings.rand_seed, source=source and source.model,
                identity={"checkpoint": saved["sha256"], "transfer_from": source and source.saved["sha256"]},
                unfinished=folder.path / f".evaluation-{name}-robustness-unfinished.json",
            )
            tables.append(robust_accuracy.table(results["robustness"]))
    except (ValueError, FloatingPointError) as error:
        raise UserError(
            f"{path} cannot be evaluated ({first_line(error)}); nothing was written: use another checkpoint"
        ) from None
    try:
        evaluation_files.write(folder.path, name, identity, results, curves)
    finally:  # also where nothing can be written
        print(*tables, sep="\n")
    print(f"written to {folder.path.absolute()}/evaluation-{name}.json")


def folder_of(options: Options) -> RunFolder:
    """Where the results go: the run's folder, or that of a file which is given alone. Raises UserError."""
    if options.desc:
        folder = RunFolder(options.desc, options.rand_seed)
        if not folder.exists():
            raise UserError(
                f"no run in {folder.path.absolute()}: check --desc and --rand_seed, or train that run first"
            )
        return folder
    if options.checkpoint in NAMED:
        raise UserError("--desc must be given, or a file as --checkpoint=PATH (--help lists all options)")
    if options.rand_seed:
        raise UserError(f"--rand_seed={options.rand_seed} goes with --desc, which is not given")
    beside = find_checkpoint(RunFolder(), options.checkpoint).parent
    run = RunFolder(at=beside.parent)
    place = run.path if beside.name == run.checkpoints.name and run.exists() else beside
    if not os.access(place, os.W_OK):
        print(f"nothing can be written in {place.absolute()}: the results go to {Path.cwd()}")
        place = Path()
    return RunFolder(at=place)


def load_checkpoint(folder: RunFolder, which: str, device: "torch.device") -> TrainedRun:
    """What --checkpoint means. Raises UserError."""
    path = find_checkpoint(folder, which)
    try:
        return read_run(path, device)
    except UserError as error:
        previous = folder.previous_checkpoint
        hint = f"; --checkpoint={previous} is the one before it" if path == folder.last_checkpoint else ""
        raise UserError(f"{error}{hint if previous.exists() else ''}") from None


def metrics_asked_for(options: Options, experiment: Experiment) -> Collection[str]:
    """Raises UserError for those that the experiment has not, and for options of others."""
    every = experiment.metrics if "all" in options.metrics else ()
    metrics = tuple(dict.fromkeys((*every, *(metric for metric in options.metrics if metric != "all"))))
    known = (*experiment.metrics, *experiment.on_request)
    known = (*known, "robustness") if "attack" in known else known
    if foreign := [metric for metric in metrics if metric not in known]:
        raise UserError(f"--metrics={foreign[0]}: this run has {', '.join(known)}")
    for name, (its, complaint) in ONLY_FOR.items():
        given = getattr(options, name)
        if given != Options.__dataclass_fields__[name].default and its.isdisjoint(metrics):
            raise UserError(complaint.format(",".join(map(str, given)) if isinstance(given, tuple) else given))
    if "transfer" in options.attacks and not options.transfer_from:
        raise UserError("--attacks=transfer needs --transfer_from, the checkpoint of a plain model")
    return metrics


def check_there_is_something(asked_for: Collection[str], settings: RunOptions) -> None:
    """Raise UserError for a metric that is asked for by name and would be of nothing."""
    needed = {"attack": "eval_attack_epsilons", "robustness": "eval_attack_epsilons", "detection": "eval_odin_out_data"}
    for metric, name in needed.items():
        if metric in asked_for and not getattr(settings, name):
            raise UserError(f"--metrics={metric}: this run was trained with --{name}=[]: give --{name} here")


def source_of_the_transfer(place: str, run: TrainedRun) -> TrainedRun:
    """What --transfer_from names. Raises UserError, also where it takes other images than the run."""
    source = read_run(Path(os.path.expanduser(place)), run.device)
    alike = source.saved["data"].get("sha256") == run.saved["data"].get("sha256")
    if not alike or "attack" not in source.experiment.metrics:
        raise UserError(f"--transfer_from={shown(place)} was trained on other images, or takes them in another shape")
    return source


def find_checkpoint(folder: RunFolder, which: str) -> Path:
    """The path that --checkpoint means. Raises UserError."""
    path = folder.checkpoints / f"{which}.pt" if which in NAMED else Path(os.path.expanduser(which))
    try:
        there = path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        there = False
    if not there:
        raise UserError(f"no checkpoint {shown(str(path))}: give --checkpoint=last, best, previous or the path of one")
    if complaint := name_complaint(path):
        raise UserError(f"--checkpoint={shown(which)}: {complaint}")
    return path


def check_same_run(folder: RunFolder, run: TrainedRun) -> None:
    """Raise UserError where the checkpoint was not trained with the options of this run, wherever both lie."""
    if not folder.config.exists():
        return
    if folder.script() not in (None, f"{run.saved['script']}.py"):
        raise UserError(f"{run.path} is of a run of {run.saved['script']}.py: give the --desc where it was trained")
    differing = differences(run.options, folder.saved_options())
    if others := {name: pair for name, pair in differing.items() if name not in LENGTHS}:  # it may have become longer
        its = " ".join(f"--{name}={shown(str(value))}" for name, (_, value) in others.items())
        raise UserError(f"{run.path} is of another run, with {its}: give its own --desc and --rand_seed")


def name_for(path: Path, sha256: str, folder: RunFolder) -> str:
    """What the results of a checkpoint are called: a file from elsewhere never takes a name that is another one's."""
    if path.resolve().parent == folder.checkpoints.resolve():
        return path.stem
    before = evaluation_files.read_or_empty(folder.path / f"evaluation-{path.stem}.json")
    taken = (folder.checkpoints / path.name).exists() or before.get("checkpoint_sha256", sha256) != sha256
    return f"{path.stem}-{sha256[:8]}" if taken else path.stem


if __name__ == "__main__":
    run_script(main)
