"""Evaluate a checkpoint: every metric of the paper, from the run's own options, with no flag repeated.

    python evaluate.py --desc=quant/mnist/vib
    python evaluate.py --desc=quant/mnist/vib --rand_seed=1 --checkpoint=best --metrics=accuracy,attack --split=test

Prints a table beside the published figures and writes evaluation-<checkpoint>.json into the run's folder. The same
checkpoint gives the same numbers as the end of its training did. All metrics of an MNIST run take under a minute on
two CPU cores.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

import dataloader
from custom_pkg import checkpoints
from custom_pkg import options as opt
from custom_pkg.device import device_complaint, pick_device
from custom_pkg.errors import UserError, run_script
from custom_pkg.files import write_json
from custom_pkg.options import not_negative, option, positive, size
from custom_pkg.progress import announced_bar
from custom_pkg.randomness import generator
from custom_pkg.run_folder import RunFolder, desc_complaint
from custom_pkg.run_options import seed_complaint
from custom_pkg.tables import flatten, format_table
from modellib import disenib, ib_lagrangian
from modellib.evaluations.protocol import METRICS, NOISES, EvaluationSettings, evaluate
from modellib.evaluations.style import style_information
from modellib.gaussians import sample
from modellib.networks import FixedStdEncoder
from modellib.published import published_column


def temperature_complaint(temperature: float) -> str | None:
    return None if temperature >= 1e-3 else "must be 0.001 or greater"


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """How the training scripts evaluate; defaults are the published settings."""

    eval_batch_size: int = option(2560, group="evaluation", check=size, help="images per batch")
    eval_attack_epsilons: tuple[float, ...] = option(
        (0.1, 0.2, 0.3), group="evaluation", check=positive, help="FGSM steps, for images in [-1, 1]"
    )
    eval_odin_out_data: tuple[str, ...] = option(
        ("gauss",), group="evaluation", choices=(*NOISES, "mnist", "fashion_mnist"),
        help="what lies outside the distribution",
    )
    eval_odin_temperature: float = option(
        1000.0, group="evaluation", check=temperature_complaint, help="of ODIN's softmax"
    )
    eval_odin_epsilon: float = option(0.0014, group="evaluation", check=not_negative, help="ODIN's input step")


@dataclass(frozen=True, kw_only=True)
class Options:
    desc: str = option(group="which run", check=desc_complaint, help="the run's folder inside STORAGE/experiments")
    rand_seed: int = option(0, group="which run", check=seed_complaint, help="the run's seed")
    checkpoint: str = option("last", group="which run", help="last (as published), best, or the path of a checkpoint")
    metrics: tuple[str, ...] = option(METRICS, group="what", choices=METRICS, help="which metrics")
    split: tuple[str, ...] = option(("train", "test"), group="what", choices=("train", "test"), help="on which images")
    eval_odin_out_data: tuple[str, ...] = option(
        (), group="what", choices=(*NOISES, "mnist", "fashion_mnist"),
        help="what lies outside the distribution; [] is what the run was trained with",
    )
    data_root: str = option("STORAGE/datasets", group="where", help="where data sets lie or are put")
    device: str = option("auto", group="where", check=device_complaint, help="auto takes a GPU when there is one")


def main() -> None:
    options = opt.parse(Options, description=__doc__)
    if not options.metrics or not options.split:
        raise UserError("--metrics and --split must name at least one metric and one set")
    if "detection" in options.metrics and "test" not in options.split:
        raise UserError("--metrics=detection needs --split=test: what is inside the distribution is the test set")
    device = pick_device(options.device)
    folder = RunFolder(options.desc, options.rand_seed)
    path, name = find_checkpoint(folder, options.checkpoint)
    saved = checkpoints.load(path)
    model = model_of(saved, path)
    trained_with = saved["options"]
    if (trained_with["desc"], trained_with["rand_seed"]) != (options.desc, options.rand_seed):
        raise UserError(
            f"{path} is of another run: give --desc={trained_with['desc']} --rand_seed={trained_with['rand_seed']}"
        )
    data_root = Path(options.data_root)
    data = dataloader.load(trained_with["dataset"], data_root)
    outside = load_outside(options.eval_odin_out_data or trained_with["eval_odin_out_data"], data, data_root, device)

    sets = {split: image_sets(data, device)[split] for split in options.split}
    measured = evaluate_model(model.to(device), sets, outside, options=trained_with, metrics=options.metrics)
    results = {**saved["position"], **measured}
    write_json(folder.path / f"evaluation-{name}.json", results)
    print(results_table(results, published_for(trained_with)))


def find_checkpoint(folder: RunFolder, which: str) -> tuple[Path, str]:
    """The path that --checkpoint means, and its name for evaluation-<name>.json."""
    named = {"last": folder.last_checkpoint, "best": folder.best_checkpoint}
    path = named.get(which, Path(which))
    if len(which) > 1000 or not path.is_file():
        shown = str(path)[:200]
        raise UserError(f"no checkpoint {shown}: check --desc, --rand_seed and --checkpoint, or train that run first")
    return path, path.stem


class Model(NamedTuple):
    """What an evaluation needs of a trained model."""

    encoder: nn.Module
    decoder: nn.Module
    code: str = "sample"  # what the published figures look at, a sample or the mean
    style_encoder: nn.Module | None = None

    def to(self, device: torch.device) -> "Model":
        return Model(*(part.to(device) if isinstance(part, nn.Module) else part for part in self))


def model_of(saved: dict, path: Path) -> Model:
    """The model of a loaded checkpoint, built from its own options. Raises UserError."""
    try:
        build, as_model = MODELS[saved["script"]]
        networks = build(saved["data"], saved["options"])
        for name, network in networks._asdict().items():
            network.load_state_dict(saved["state"][name])
        return as_model(networks, saved["options"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} does not fit this code ({reason}): use the code that wrote it") from None


def lagrangian_networks(data: dict, options: dict) -> ib_lagrangian.Networks:
    """Freshly initialised networks as the data record and the options of a run of train_lagrangian.py have them."""
    names = (
        "model", "emb_dim", "enc_hidden_dims", "dec_hidden_dims",
        "vib_softplus_scalar", "nib_log_std", "nib_log_std_trainable",
    )
    return ib_lagrangian.build_networks(
        torch.Size(data["image_shape"]).numel(), data["n_classes"],
        generator=generator(options["rand_seed"], "networks"), **{name: options[name] for name in names},
    )


def lagrangian_model(networks: ib_lagrangian.Networks, options: dict) -> Model:
    return Model(*networks)


def disenib_networks(data: dict, options: dict) -> disenib.Networks:
    """Freshly initialised networks as the data record and the options of a run of train_disenib.py have them."""
    names = ("style_dim", "class_dim", "enc_hidden_dims", "dec_hidden_dims", "rec_hidden_dims")
    return disenib.build_networks(
        torch.Size(data["image_shape"]).numel(), data["n_classes"],
        generator=generator(options["rand_seed"], "networks"), **{name: options[name] for name in names},
    )


def disenib_model(networks: disenib.Networks, options: dict) -> Model:
    return Model(
        FixedStdEncoder(networks.class_encoder, options["class_std"]), networks.decoder, "mean",
        FixedStdEncoder(networks.style_encoder, options["style_std"]),
    )


MODELS: dict[str, tuple[Callable, Callable]] = {
    "train_lagrangian": (lagrangian_networks, lagrangian_model),
    "train_disenib": (disenib_networks, disenib_model),
}


def image_sets(data: dataloader.ImageDataset, device: torch.device) -> dict[str, tuple[Tensor, Tensor]]:
    """name -> images (N, D) in [-1, 1], labels (N,), for both sets."""
    return {
        name: (split.flat().to(device), split.labels.to(device))
        for name, split in (("train", data.train), ("test", data.test))
    }


def load_outside(
    names: tuple[str, ...], data: dataloader.ImageDataset, data_root: Path, device: torch.device
) -> dict[str, Tensor | None]:
    """The outside sets for detection: test images of another data set, as many as `data` has; None stands for noise."""
    outside: dict[str, Tensor | None] = {}
    for name in names:
        if name in NOISES:
            outside[name] = None
            continue
        other = dataloader.load(name, data_root).test
        if name == data.name or other.images.shape[1:] != data.test.images.shape[1:]:
            raise UserError(
                f"--eval_odin_out_data={name}: must be another data set than {data.name}, with images of the same size"
            )
        outside[name] = other.flat()[: len(data.test.labels)].to(device)
    return outside


def evaluate_model(model: Model, sets, outside, *, options: dict, metrics=METRICS) -> dict[str, dict]:
    """The published protocol with the evaluation settings and the seed of a run's `options`."""
    device = next(iter(sets.values()))[0].device
    if device.type == "mps":  # it has no float64, which the exact metrics need
        device = torch.device("cpu")
        model = copy.deepcopy(model).to(device)
        sets = {name: (images.to(device), labels.to(device)) for name, (images, labels) in sets.items()}
        outside = {name: images if images is None else images.to(device) for name, images in outside.items()}

    def seeded(*names: str) -> torch.Generator:
        return generator(options["rand_seed"], "evaluation", *names, device=device)

    results = evaluate(
        model.encoder, model.decoder, sets, outside, code=model.code, metrics=metrics, progress=announced_bar,
        settings=EvaluationSettings(
            batch_size=options["eval_batch_size"], attack_epsilons=options["eval_attack_epsilons"],
            odin_temperature=options["eval_odin_temperature"], odin_epsilon=options["eval_odin_epsilon"],
        ),
        generator=seeded,
    )
    if model.style_encoder is not None and "information" in metrics:
        style = style_information(
            model.style_encoder, sets, draw=partial(sample, generator=seeded("style")),
            batch_size=options["eval_batch_size"], progress=announced_bar("information of the style code"),
        )
        for name, measured in style.items():
            results[name] |= measured
    return results


def published_for(options: dict) -> dict | None:
    return published_column(options["dataset"], options.get("model", "disenib"), options.get("hfunc", "none"))


ROWS = {  # keys of evaluation.json -> their names in the table, in its order
    "accuracy": "accuracy, %",
    "accuracy_mean_code": "accuracy of the mean code, %",
    "mi_xt": "I(X;T), nats",
    "mi_yt": "I(Y;T), nats",
    "mi_yt_lower_bound": "I(Y;T), variational bound, nats",
    "mi_xt_mean_code": "I(X;T) of the mean code, nats",
    "mi_yt_mean_code": "I(Y;T) of the mean code, nats",
    "mi_yt_lower_bound_mean_code": "I(Y;T) of the mean code, variational bound, nats",
    "mi_xs": "I(X;S), nats",
    "style_to_label_accuracy": "label from the style code, %",
    "style_to_label_chance": "label by chance, %",
    "fgsm": "FGSM {}, still correct, %",
    "fgsm_robust_accuracy": "FGSM {}, robust accuracy, %",
    "fgsm_cross_entropy": "FGSM {} on cross entropy, still correct, %",
    "fgsm_cross_entropy_robust_accuracy": "FGSM {} on cross entropy, robust accuracy, %",
    "fpr_at_95_tpr": "FPR at 95 % TPR, %",
    "auroc": "AUROC, %",
    "aupr_in": "AUPR In, %",
    "aupr_out": "AUPR Out, %",
    "detection_error": "detection error, %",
}


def results_table(results: dict, published: dict | None) -> str:
    """This run beside the paper, in percent and nats: one table for the sets, one for what lies outside."""
    outside = results.get("ood", {})
    sets = {name: results[name] for name in ("train", "test") if name in results}
    tables = [_table(f"after epoch {results['epoch']}", sets, published or {})]
    if outside:
        tables.append(_table("detection of", outside, (published or {}).get("ood", {})))
    return "\n\n".join(tables)


def _table(title: str, columns: dict[str, dict], published: dict[str, dict]) -> str:
    """One column per entry of `columns`, and the paper's beside it where there is one."""
    header, flat_columns = [title], []
    for name, column in columns.items():
        header.append(name)
        flat_columns.append(flatten(column))
        if name in published:
            header.append("paper")
            flat_columns.append(flatten(published[name]))
    rows = []
    for key in dict.fromkeys(key for column in flat_columns for key in column):
        metric, _, epsilon = key.partition("/")
        if metric in ROWS:
            name = ROWS[metric].format(epsilon)
            scale, digits = (1, 3) if name.endswith("nats") else (100, 2)
            rows.append([name, *(f"{scale * c[key]:.{digits}f}" if key in c else "" for c in flat_columns)])
    return format_table(header, rows)


if __name__ == "__main__":
    run_script(main, user_errors=(dataloader.DatasetError,))
