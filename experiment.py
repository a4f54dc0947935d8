"""What the scripts share: from options to data sets, trained models, their evaluation and its table."""

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

import dataloader
from custom_pkg import options as opt
from custom_pkg.device import pick_device
from custom_pkg.errors import UserError, first_line
from custom_pkg.interrupts import StopRequest
from custom_pkg.options import not_negative, option, positive, size
from custom_pkg.progress import announced_bar
from custom_pkg.randomness import generator
from custom_pkg.run_folder import RunFolder
from custom_pkg.run_options import FREE_AT_RESUME
from custom_pkg.tables import flatten, format_table
from modellib import disenib, ib_lagrangian
from modellib.evaluations.protocol import METRICS, NOISES, SPLITS, EvaluationSettings, evaluate
from modellib.networks import FixedStdEncoder
from modellib.published import MNIST

OUTSIDE = (*NOISES, "mnist", "fashion_mnist")
Sets = dict[str, tuple[Tensor, Tensor]]  # "train", "test" -> images (N, D) in [-1, 1], labels (N,)
Outside = dict[str, Tensor | None]  # name -> images (M, D), or None for noise of that name


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
        ("gauss",), group="evaluation", choices=OUTSIDE, help="what lies outside the distribution"
    )
    eval_odin_temperature: float = option(
        1000.0, group="evaluation", check=temperature_complaint, help="of ODIN's softmax"
    )
    eval_odin_epsilon: float = option(0.0014, group="evaluation", check=not_negative, help="ODIN's input step")


class Start(NamedTuple):
    """What a training begins with."""

    folder: RunFolder
    data: dataloader.ImageDataset
    sets: Sets
    outside: Outside
    device: torch.device
    stop: StopRequest


def start_training(script: str, options, train: Callable[[object, Start], None]) -> None:
    """Check the options against the machine and the disk, load the data, hold the run's folder, and call `train`.

    script: the training script's name, without .py. Nothing is written before all checks have passed. A finished run
    that is resumed shows its table. Raises UserError and DatasetError.
    """
    device = pick_device(options.device)
    folder = RunFolder(options.desc, options.rand_seed)
    settings = opt.to_dict(options)
    check = partial(folder.check, settings, resume=options.resume, overwrite=options.overwrite, free=FREE_AT_RESUME)
    check()
    if options.resume and folder.evaluation.exists():
        print(results_table(json.loads(folder.evaluation.read_text()), published_for(script, settings)))
        return
    data_root = Path(options.data_root)
    data = dataloader.load(options.dataset, data_root)
    if options.batch_size > len(data.train.labels):
        raise UserError(f"--batch_size={options.batch_size}: the training set has {len(data.train.labels)} images")
    outside = load_outside(options.eval_odin_out_data, data, data_root, device)
    with folder.open(overwrite=options.overwrite, check=check), StopRequest() as stop:
        train(options, Start(folder, data, image_sets(data, device), outside, device, stop))


def introduction(what: str, start: Start, step: int) -> str:
    """The first lines of a run: what, from where on, on which data, where."""
    data = start.data
    return (
        f"{what}, {f'from step {step} on' if step else 'from the start'}\n"
        f"{data.name}: {len(data.train.labels)} training and {len(data.test.labels)} test images, {data.source}\n"
        f"on {start.device} with {torch.get_num_threads()} threads, in {start.folder.path}"
    )


def image_sets(data: dataloader.ImageDataset, device: torch.device) -> Sets:
    """Both sets, for fully connected networks."""
    return {
        name: (split.flat().to(device), split.labels.to(device))
        for name, split in (("train", data.train), ("test", data.test))
    }


def load_outside(
    names: tuple[str, ...], data: dataloader.ImageDataset, data_root: Path, device: torch.device
) -> Outside:
    """The outside sets for detection: test images of another data set, as many as `data` has; None stands for noise."""
    outside: Outside = {}
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
        model, networks = MODELS[saved["script"]](saved["data"], saved["options"])
        for name, network in networks._asdict().items():
            network.load_state_dict(saved["state"][name])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} does not fit this code ({first_line(error)}): use the code that wrote it") from None
    return model


def lagrangian_model(data: dict, options: dict) -> tuple[Model, ib_lagrangian.Networks]:
    """The freshly initialised networks of a run of train_lagrangian.py, and the model that is evaluated."""
    names = (
        "model", "emb_dim", "enc_hidden_dims", "dec_hidden_dims",
        "vib_softplus_scalar", "nib_log_std", "nib_log_std_trainable",
    )
    networks = ib_lagrangian.build_networks(
        torch.Size(data["image_shape"]).numel(), data["n_classes"],
        generator=generator(options["rand_seed"], "networks"), **{name: options[name] for name in names},
    )
    return Model(networks.encoder, networks.decoder), networks


def disenib_model(data: dict, options: dict) -> tuple[Model, disenib.Networks]:
    """The freshly initialised networks of a run of train_disenib.py, and the model that is evaluated."""
    names = ("style_dim", "class_dim", "enc_hidden_dims", "dec_hidden_dims", "rec_hidden_dims")
    networks = disenib.build_networks(
        torch.Size(data["image_shape"]).numel(), data["n_classes"],
        generator=generator(options["rand_seed"], "networks"), **{name: options[name] for name in names},
    )
    class_encoder = FixedStdEncoder(networks.class_encoder, options["class_std"])
    style_encoder = FixedStdEncoder(networks.style_encoder, options["style_std"])
    return Model(class_encoder, networks.decoder, "mean", style_encoder), networks


MODELS: dict[str, Callable] = {"train_lagrangian": lagrangian_model, "train_disenib": disenib_model}


def evaluate_model(
    model: Model,
    sets: Sets,
    outside: Outside,
    *,
    options: dict,
    metrics: Sequence[str] = METRICS,
    splits: Sequence[str] = SPLITS,
) -> dict[str, dict]:
    """The published protocol with the evaluation settings and the seed of a run's `options`."""
    device = sets["test"][0].device
    if device.type == "mps":  # it has no float64, which the exact metrics need
        device = torch.device("cpu")
        model = copy.deepcopy(model).to(device)
        sets = {name: (images.to(device), labels.to(device)) for name, (images, labels) in sets.items()}
        outside = {name: images if images is None else images.to(device) for name, images in outside.items()}
    return evaluate(
        model.encoder, model.decoder, sets, outside, style_encoder=model.style_encoder, code=model.code,
        metrics=metrics, splits=splits, progress=announced_bar,
        settings=EvaluationSettings(
            batch_size=options["eval_batch_size"], attack_epsilons=options["eval_attack_epsilons"],
            odin_temperature=options["eval_odin_temperature"], odin_epsilon=options["eval_odin_epsilon"],
        ),
        generator=lambda *names: generator(options["rand_seed"], "evaluation", *names, device=device),
    )


def published_for(script: str, options: dict) -> dict | None:
    """The paper's results for a run with these options, or None where it has none."""
    if options["dataset"] != "mnist":
        return None
    if script == "train_disenib":
        return MNIST["disenib"]
    name, lambda_kl = {"none": ("{}", 0.01), "pow": ("squared-{}", 0.001)}.get(options["hfunc"], ("", None))
    if options["lambda_kl"] != lambda_kl or options["hfunc_param"] != 1:
        return None
    return MNIST[name.format(options["model"])]


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
    published = published or {}
    sets = {name: results[name] for name in SPLITS if results.get(name)}
    tables = [
        _table(f"epoch {results['epoch']}, step {results['step']}", sets, published),
        _table("detection of", results.get("ood", {}), published.get("ood", {})),
    ]
    return "\n\n".join(table for table in tables if table)


def _table(title: str, columns: dict[str, dict], published: dict[str, dict]) -> str | None:
    """One column per entry of `columns`, and the paper's beside it where there is one; None when there is no entry."""
    header, cells = [title], []
    for name, column in columns.items():
        for label, values in ((name, column), ("paper", published.get(name))):
            if values is not None:
                header.append(label)
                cells.append(flatten(values))
    rows = []
    for key in dict.fromkeys(key for column in columns.values() for key in flatten(column)):
        metric, _, epsilon = key.partition("/")
        if metric in ROWS:
            name = ROWS[metric].format(epsilon)
            scale, digits = (1, 3) if name.endswith("nats") else (100, 2)
            rows.append([name, *(f"{scale * column[key]:.{digits}f}" if key in column else "" for column in cells)])
    return format_table(header, rows) if rows else None
