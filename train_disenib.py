"""Train and evaluate DisenIB with fully connected networks: maximum compression without tuning a Lagrangian weight.

    python train_disenib.py --dataset=mnist --desc=quant/mnist/disenib
    python train_disenib.py --dataset=mnist --desc=quant/mnist/disenib-bf16 --precision=bf16

20,000 steps of 10 main and 3 density-estimator updates. Prints the terms of both objectives on the way, all metrics
every 5,000 steps (evaluation-step<N>.json), and at the end a table of them beside the published ones. On two CPU
cores with bfloat16 instructions a run takes about an hour and a half with --precision=bf16, in fp32 about three.
Everything is written to STORAGE/experiments/<desc>/seed<rand_seed>/ and STORAGE/tensorboard/<desc>/seed<rand_seed>/.
A run that was stopped, however it was, goes on with the same command and --resume.
"""

import json
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import torch

import dataloader
from custom_pkg import options as opt
from custom_pkg.device import pick_device
from custom_pkg.errors import UserError, run_script
from custom_pkg.files import write_json
from custom_pkg.interrupts import StopRequest
from custom_pkg.loss_history import LossHistory
from custom_pkg.options import not_negative, option, positive, size
from custom_pkg.precision import autocast_for, bf16_is_slow, compile_networks
from custom_pkg.progress import bar
from custom_pkg.randomness import generator
from custom_pkg.run_folder import RunFolder
from custom_pkg.run_options import FREE_AT_RESUME, RunOptions
from custom_pkg.tables import flatten
from custom_pkg.training_run import Progress, TrainingRun
from dataloader.batches import ShuffledBatches
from evaluate import (
    EvaluationOptions,
    disenib_model,
    disenib_networks,
    evaluate_model,
    image_sets,
    load_outside,
    published_for,
    results_table,
)
from modellib import disenib


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions, EvaluationOptions):
    """Defaults are the published settings."""

    dataset: str = option("mnist", group="objective", choices=dataloader.DATASETS, help="images and labels")
    lambda_dec: float = option(1.0, group="objective", check=not_negative, help="weight of the decoder's cross entropy")
    lambda_rec: float = option(10.0, group="objective", check=not_negative, help="weight of the reconstruction error")
    lambda_wall: float = option(10.0, group="objective", check=not_negative, help="weight of the wall around the codes")
    emb_radius: float = option(3.0, group="objective", check=positive, help="where that wall stands")
    lambda_est: float = option(0.5, group="objective", check=not_negative, help="weight of the I(S;T) term")
    lambda_est_zc: float = option(
        0.05, group="objective", check=not_negative, help="weight that keeps the estimator's outputs around zero"
    )
    est_thr: int = option(3000, group="objective", check=not_negative, help="step from which the I(S;T) term counts")
    est_style_optimize: int = option(
        4, group="objective", check=positive,
        help="updates in which it moves the style encoder, before one in which it moves the class encoder",
    )

    style_dim: int = option(16, group="networks", check=size, help="dimensions of the style code S")
    class_dim: int = option(16, group="networks", check=size, help="dimensions of the class code T")
    enc_hidden_dims: tuple[int, ...] = option(
        (1024, 1024), group="networks", check=size, help="hidden layers of both encoders"
    )
    dec_hidden_dims: tuple[int, ...] = option(
        (), group="networks", check=size, help="hidden layers of the decoder; [] makes it linear"
    )
    rec_hidden_dims: tuple[int, ...] = option(
        (1024, 1024), group="networks", check=size, help="hidden layers of the reconstructor"
    )
    style_std: float = option(0.1, group="networks", check=positive, help="std of S around its mean")
    class_std: float = option(1.0, group="networks", check=positive, help="std of T around its mean")
    est_style_std: float = option(0.1, group="networks", check=positive, help="std of S as the estimator sees it")
    est_class_std: float = option(0.1, group="networks", check=positive, help="std of T as the estimator sees it")

    steps: int = option(20_000, group="training", check=positive, help="steps, each of the updates below")
    n_times_main: int = option(10, group="training", check=size, help="main updates per step")
    n_times_est: int = option(3, group="training", check=size, help="density-estimator updates per step")
    n_samples: int = option(10, group="training", check=size, help="noise draws per image")
    batch_size: int = option(64, group="training", check=size, help="images per update")
    learning_rate: float = option(1e-4, group="training", check=positive, help="of both Adams")
    freq_step_log: int = option(10, group="training", check=size, help="log the losses every so many steps")
    freq_step_chkpt: int = option(1000, group="training", check=positive, help="checkpoint every so many steps")
    freq_step_eval_quant: int = option(5000, group="training", check=positive, help="all metrics every so many steps")
    precision: str = option(
        "fp32", group="training", choices=("fp32", "bf16"),
        help="bf16: matrix products in bfloat16; weights, losses, sampling and estimator stay in float32",
    )
    compile: bool = option(False, group="training", help="compile the networks with torch.compile")


@dataclass
class DisenIBProgress(Progress):
    step: int = 0
    evaluated: int = 0  # the step of the last evaluation


def main() -> None:
    options = opt.parse(Options, description=__doc__)
    device = pick_device(options.device)
    folder = RunFolder(options.desc, options.rand_seed)
    check = partial(
        folder.check, opt.to_dict(options), resume=options.resume, overwrite=options.overwrite, free=FREE_AT_RESUME
    )
    check()
    if options.resume and folder.evaluation.exists():
        print(results_table(json.loads(folder.evaluation.read_text()), published_for(opt.to_dict(options))))
        return
    data = dataloader.load(options.dataset, Path(options.data_root))
    if options.batch_size > len(data.train.labels):
        raise UserError(f"--batch_size={options.batch_size}: the training set has {len(data.train.labels)} images")
    outside = load_outside(options.eval_odin_out_data, data, Path(options.data_root), device)
    with folder.open(overwrite=options.overwrite, check=check), StopRequest() as stop:
        run(options, folder, data, outside, device, stop)


def run(options: Options, folder: RunFolder, data, outside, device: torch.device, stop: StopRequest) -> None:
    settings = opt.to_dict(options)
    sets = image_sets(data, device)
    images, labels = sets["train"]
    seed = options.rand_seed

    networks = disenib_networks(data.record(), settings)
    for network in networks:
        network.to(device)
    if options.compile:
        compile_networks(networks, device)
    autocast = autocast_for(options.precision, device)
    objective = disenib.Settings(**{field.name: settings[field.name] for field in fields(disenib.Settings)})
    adam = {"lr": options.learning_rate, "betas": (0.5, 0.999), "fused": True}
    main_optimizer = torch.optim.Adam(networks.main_parameters(), **adam)
    est_optimizer = torch.optim.Adam(networks.density_estimator.parameters(), **adam)

    main_batches = ShuffledBatches(len(images), options.batch_size, generator(seed, "main batches"), device)
    est_batches = ShuffledBatches(len(images), options.batch_size, generator(seed, "estimator batches"), device)
    main_stream, est_stream = main_batches.endless(), est_batches.endless()
    noise = generator(seed, "noise", device=device)
    main_losses = LossHistory(disenib.MAIN_TERMS, options.freq_step_log * options.n_times_main, device)
    est_losses = LossHistory(disenib.ESTIMATOR_TERMS, options.freq_step_log * options.n_times_est, device)
    progress = DisenIBProgress()
    training = TrainingRun(
        folder, stop, script="train_disenib", options=settings, data=data.record(), device=device,
        parts={
            **networks._asdict(), "main_optimizer": main_optimizer, "est_optimizer": est_optimizer,
            "main_batches": main_batches, "est_batches": est_batches,
        },
        generators={"noise": noise}, losses={"main_losses": main_losses, "est_losses": est_losses}, progress=progress,
        position=lambda: {"epoch": progress.epoch, "step": progress.step}, resume=options.resume,
    )
    training.log.say(introduction(options, folder, data, device, progress.step))
    model = disenib_model(networks, settings).to(device)

    def evaluate() -> dict:
        return evaluate_model(model, sets, outside, options=settings)

    steps = range(progress.step, options.steps)
    for step in bar(steps, "training", total=options.steps, initial=progress.step, unit="step"):
        if step % options.freq_step_eval_quant == 0 and step > progress.evaluated:
            results = {**training.position(), **training.interruptible(evaluate)}
            training.log.scalars(flatten({"eval": results}), **training.position())
            training.log.say(results_table(results, published_for(settings)))
            write_json(folder.path / f"evaluation-step{step}.json", results)
            progress.evaluated = step
            training.save()

        for _ in range(options.n_times_main):
            index = next(main_stream)
            moving = None
            if step >= options.est_thr:
                since = main_losses.step - options.est_thr * options.n_times_main
                moving = disenib.moving_encoder(since, options.est_style_optimize)
            main_losses.add(disenib.main_update(
                networks, main_optimizer, images[index], labels[index], objective,
                moving=moving, autocast=autocast, generator=noise,
            ))
        for _ in range(options.n_times_est):
            est_losses.add(disenib.estimator_update(
                networks, est_optimizer, images[next(est_stream)], objective,
                cluster=disenib.clustered, autocast=autocast, generator=noise,
            ))
        progress.step = step + 1
        progress.epoch = main_losses.step // main_batches.per_pass

        if progress.step % options.freq_step_log == 0:
            metrics = {f"train/{name}": value for name, value in (main_losses.means() | est_losses.means()).items()}
            training.log.scalars(metrics, **training.position())
            for losses in (main_losses, est_losses):
                losses.check_finite(str(folder.last_checkpoint))
                losses.clear()
        if progress.step % options.freq_step_chkpt == 0:
            training.save()
            training.log.say(step_line(metrics, progress))
            for warning in warnings(metrics, options):
                training.log.say(f"warning: {warning}")
        training.end_if_asked()

    if not progress.finished:
        progress.finished = True
        training.save()
    results = training.final_evaluation(evaluate)
    training.log.say(results_table(results, published_for(settings)))
    training.log.close()


def introduction(options: Options, folder: RunFolder, data, device: torch.device, step: int) -> str:
    slow = "\nthis CPU has no bfloat16 instructions: --precision=bf16 will be slower than fp32"
    start = f"from step {step} on" if step else "from the start"
    return (
        f"DisenIB, {options.precision}, seed {options.rand_seed}, {start}\n"
        f"{data.name}: {len(data.train.labels)} training and {len(data.test.labels)} test images, {data.source}\n"
        f"on {device} with {torch.get_num_threads()} threads, in {folder.path}"
    ) + (slow if options.precision == "bf16" and bf16_is_slow(device) else "")


def step_line(metrics: dict[str, float], progress: DisenIBProgress) -> str:
    names = ("loss_dec", "loss_rec", "loss_wall", "loss_est", "output_real", "output_fake")
    shown = "  ".join(f"{name.removeprefix('loss_')} {metrics[f'train/{name}']:.4f}" for name in names)
    return f"step {progress.step:6d}  {shown}  {progress.seconds:8.0f} s"


def warnings(metrics: dict[str, float], options: Options) -> list[str]:
    """What went wrong in the last window of updates, in plain words."""
    found = []
    real, fake = metrics["train/output_real"], metrics["train/output_fake"]
    if real - fake < 0.01:
        found.append(
            f"the density estimator answers {real:.3f} to independent and {fake:.3f} to joint pairs: it tells them "
            "apart no longer, so S and T are independent or it has collapsed"
        )
    if metrics["train/loss_wall"] > options.emb_radius**2:
        found.append(f"the codes lie far beyond the wall at {options.emb_radius}: a larger --lambda_wall may hold them")
    return found


if __name__ == "__main__":
    run_script(main, user_errors=(dataloader.DatasetError,))
