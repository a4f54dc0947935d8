"""Train and evaluate DisenIB with fully connected networks: maximum compression without tuning a Lagrangian weight.

    python train_disenib.py --dataset=mnist --desc=quant/mnist/disenib
    python train_disenib.py --dataset=mnist --desc=quant/mnist/disenib-bf16 --precision=bf16

20,000 steps of 10 main and 3 density-estimator updates. Prints the terms of both objectives on the way, all metrics
every 5,000 steps (evaluation-step<N>.json), and at the end a table of them beside the published ones. On two CPU
cores with bfloat16 instructions a step takes about 0.43 s with --precision=bf16 and 0.71 s in fp32.
Everything is written to STORAGE/experiments/<desc>/seed<rand_seed>/ and STORAGE/tensorboard/<desc>/seed<rand_seed>/.
A run that was stopped, however it was, goes on with the same command and --resume.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import torch

import dataloader
from custom_pkg import options as opt
from custom_pkg.errors import run_script
from custom_pkg.files import link_atomically, write_json
from custom_pkg.loss_history import LossHistory
from custom_pkg.options import not_negative, option, positive, size
from custom_pkg.precision import autocast_for, bf16_is_slow, check_compiler
from custom_pkg.progress import bar
from custom_pkg.randomness import generator
from custom_pkg.run_options import RunOptions
from custom_pkg.tables import flatten
from custom_pkg.training_run import Progress, TrainingRun
from dataloader.batches import ShuffledBatches
from experiment import (
    EvaluationOptions,
    Start,
    disenib_model,
    evaluate_model,
    introduction,
    published_for,
    results_table,
    start_training,
)
from modellib import disenib

SCRIPT = Path(__file__).stem


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
    style_encoder_moves: int = 0  # main updates in which the I(S;T) term moved it
    class_encoder_moves: int = 0


def main() -> None:
    options = opt.parse(Options, description=__doc__)
    if options.compile:
        check_compiler()
    start_training(SCRIPT, options, train)


def train(options: Options, start: Start) -> None:
    settings, seed, device = opt.to_dict(options), options.rand_seed, start.device
    images, labels = start.sets["train"]

    model, networks = disenib_model(start.data.record(), settings)
    model.to(device)
    for network in networks:
        network.to(device)
        if options.compile:
            network.compile()
    autocast = autocast_for(options.precision, device)
    objective = disenib.Settings(**{field.name: settings[field.name] for field in fields(disenib.Settings)})
    adam = {"lr": options.learning_rate, "betas": (0.5, 0.999), "fused": True}
    main_optimizer = torch.optim.Adam(networks.main_parameters(), **adam)
    est_optimizer = torch.optim.Adam(networks.density_estimator.parameters(), **adam)

    main_batches = ShuffledBatches(len(images), options.batch_size, generator(seed, "main batches"), device)
    est_batches = ShuffledBatches(len(images), options.batch_size, generator(seed, "estimator batches"), device)
    main_stream, est_stream = main_batches.endless(), est_batches.endless()
    noise = generator(seed, "noise", device=device)
    window = options.freq_step_log
    main_losses = LossHistory(disenib.MAIN_TERMS, window * options.n_times_main, device, "main update")
    est_losses = LossHistory(disenib.ESTIMATOR_TERMS, window * options.n_times_est, device, "estimator update")
    progress = DisenIBProgress()
    training = TrainingRun(
        start.folder, start.stop, script=SCRIPT, options=settings, data=start.data.record(), device=device,
        parts={
            **networks._asdict(), "main_optimizer": main_optimizer, "est_optimizer": est_optimizer,
            "main_batches": main_batches, "est_batches": est_batches,
        },
        generators={"noise": noise}, losses={"main_losses": main_losses, "est_losses": est_losses}, progress=progress,
        resume=options.resume, position=lambda: {"epoch": progress.epoch, "step": progress.step},
    )
    training.log.say(introduction(f"DisenIB, {options.precision}, seed {seed}", start, progress.step))
    if options.precision == "bf16" and bf16_is_slow(device):
        training.log.say("this CPU has no bfloat16 instructions: bf16 will be slower than fp32")

    def evaluate() -> dict:
        return evaluate_model(model, start.sets, start.outside, options=settings)

    steps = range(progress.step, options.steps)
    for step in bar(steps, "training", total=options.steps, initial=progress.step, unit="step"):
        if step % options.freq_step_eval_quant == 0 and step > progress.evaluated:
            training.save()
            link_atomically(start.folder.last_checkpoint, start.folder.step_checkpoint(step))
            metrics = training.interruptible(evaluate)
            training.log.scalars(flatten({"eval": metrics}), **training.position())
            results = training.position() | metrics
            write_json(start.folder.path / f"evaluation-step{step}.json", results)
            training.log.say(results_table(results, published_for(SCRIPT, settings)))
            progress.evaluated = step
            training.save()

        for _ in range(options.n_times_main):
            moving = None
            if step >= options.est_thr:
                since_threshold = main_losses.step - options.est_thr * options.n_times_main
                moving = disenib.moving_encoder(since_threshold, options.est_style_optimize)
                progress.style_encoder_moves += moving == "style"
                progress.class_encoder_moves += moving == "class"
            index = next(main_stream)
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
            scalars = {}
            for losses in (main_losses, est_losses):
                losses.check_finite(start.folder.last_checkpoint)
                scalars |= losses.means()
                losses.clear()
            scalars |= {name: getattr(progress, name) for name in ("style_encoder_moves", "class_encoder_moves")}
            training.log.scalars(flatten({"train": scalars}), **training.position())
            if progress.step % options.freq_step_chkpt < options.freq_step_log:  # about as often as a checkpoint
                training.log.say(step_line(scalars, progress))
                for warning in warnings(scalars, options):
                    training.log.say(f"warning: {warning}")
        if progress.step % options.freq_step_chkpt == 0:
            training.save()
        training.end_if_asked()

    if not progress.finished:
        progress.finished = True
        training.save()
    results = training.final_evaluation(evaluate)
    training.log.say(results_table(results, published_for(SCRIPT, settings)))
    training.log.close()


def step_line(scalars: dict[str, float], progress: DisenIBProgress) -> str:
    names = ("loss_dec", "loss_rec", "loss_wall", "loss_est", "output_real", "output_fake")
    shown = "  ".join(f"{name.removeprefix('loss_')} {scalars[name]:.4f}" for name in names)
    return f"step {progress.step:6d}  {shown}  {progress.seconds:8.0f} s"


def warnings(scalars: dict[str, float], options: Options) -> list[str]:
    """What went wrong in the last window of updates, in plain words."""
    found = []
    real, fake = scalars["output_real"], scalars["output_fake"]
    if real - fake < 0.01:
        found.append(
            f"the density estimator answers {real:.3f} to independent and {fake:.3f} to joint pairs, and so no longer "
            "tells them apart: S and T are independent, or it has collapsed"
        )
    if scalars["largest_code"] > 2 * options.emb_radius:
        found.append(
            f"codes reach {scalars['largest_code']:.1f}, far beyond the wall at {options.emb_radius}: "
            "a larger --lambda_wall would hold them"
        )
    return found


if __name__ == "__main__":
    run_script(main, user_errors=(dataloader.DatasetError,))
