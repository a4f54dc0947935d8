"""The training loop of the four DisenIB scripts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from custom_pkg.compute import autocast_for, bf16_is_slow, generator
from custom_pkg.cuda_graphs import Graphed
from custom_pkg.files import link_atomically, write_json
from custom_pkg.run_log import LossHistory
from custom_pkg.terminal import bar, flatten
from custom_pkg.training_run import Progress, Start, TrainingRun
from dataloader.batches import ShuffledBatches
from experiments import quantitative
from experiments.experiment import Loaded
from experiments.option_groups import ComparisonOptions, DisenIBOptions, DisentanglingOptions
from experiments.registry import EXPERIMENTS
from experiments.run_table import beside_the_paper
from experiments.start import closing, introduction
from experiments.supervised_disentangling import Pictures
from modellib import disenib
from modellib.model import SwappingModel
from modellib.optimiser import adam


class Discriminator(NamedTuple):
    """Trained beside the rest, as the options of train_disenib_mnist.py say."""

    network: nn.Module
    n_times: int  # updates per step
    thr: int  # step from which it counts
    limit_acc: float


@dataclass
class DisenIBProgress(Progress):
    evaluated: int = 0  # the step of the last evaluation
    style_encoder_moves: int = 0  # main updates in which the I(S;T) term moved it
    class_encoder_moves: int = 0


def train_disenib(
    options: DisenIBOptions, start: Start, loaded: Loaded, *, cluster: Callable[[Tensor, float], Tensor],
    discriminator: Discriminator | None = None,
) -> None:
    """Train to the end, from wherever the run stands, and evaluate; draw swaps where the model makes images.

    cluster: see `disenib.estimator_objective`. discriminator: one that is trained beside.
    """
    seed, device, experiment = options.rand_seed, start.device, EXPERIMENTS[start.script]
    images, labels = loaded.sets["train"]
    model, networks = experiment.build(start.data, options)
    assert isinstance(networks, disenib.Networks)
    model.to(device)
    judges = {"discriminator": discriminator.network} if discriminator else {}
    for network in (*networks, *judges.values()):
        network.to(device)
    trained = {"main": networks.main_parameters(), "est": networks.density_estimator.parameters()}
    trained |= {name: judge.parameters() for name, judge in judges.items()}
    optimizers = {f"{name}_optimizer": adam(each, options.learning_rate) for name, each in trained.items()}
    main_batches = ShuffledBatches(len(images), options.batch_size, generator(seed, "main batches"), device)
    est_batch_size = options.est_batch_size or options.batch_size
    est_batches = ShuffledBatches(len(images), est_batch_size, generator(seed, "estimator batches"), device)
    main_stream, est_stream = main_batches.endless(), est_batches.endless()
    noise = generator(seed, "noise", device=device)
    common = {"settings": options, "autocast": autocast_for(options.precision, device), "generator": noise}
    main_update = partial(disenib.main_update, networks, optimizers["main_optimizer"], **common)
    est_update = partial(disenib.estimator_update, networks, optimizers["est_optimizer"], cluster=cluster, **common)
    main_update, est_update = Graphed(main_update, device, noise), Graphed(est_update, device, noise)

    def history(terms: type[NamedTuple], per_step: int, what: str) -> LossHistory:
        return LossHistory(terms, options.freq_step_log * per_step, device, what, per_step)

    histories = {
        "main_losses": history(disenib.MainTerms, options.n_times_main, "main update"),
        "est_losses": history(disenib.EstimatorTerms, options.n_times_est, "estimator update"),
    }
    main_batches_per_step = options.n_times_main
    if discriminator:
        main_batches_per_step += discriminator.n_times
        histories["disc_losses"] = history(disenib.DiscriminatorTerms, discriminator.n_times, "discriminator update")
    progress = DisenIBProgress()
    run = TrainingRun(
        start, progress, {
            **networks._asdict(), **judges, **optimizers, "main_batches": main_batches, "est_batches": est_batches,
            **histories,
        }, {"noise": noise},
    )
    run.open()
    run.log.say(introduction(f"DisenIB, {options.precision}, seed {seed}", start, loaded, progress.step))
    if options.compile:
        run.log.say("--compile has no effect any more: compiled updates took longer than the plain ones on a CPU")
    if options.precision == "bf16" and bf16_is_slow(device):
        run.log.say("this CPU has no bfloat16 instructions: bf16 will be slower than fp32")
    pictures = None
    if isinstance(model, SwappingModel) and isinstance(options, DisentanglingOptions):
        pictures = Pictures(model, loaded, start.folder, options)

    def evaluate() -> dict:
        metrics = experiment.evaluate(model, loaded, options=options)
        if isinstance(options, ComparisonOptions):
            quantitative.show(run.log, model, loaded, metrics, step=progress.step, batch_size=options.eval_batch_size)
        return metrics

    steps = range(progress.step, options.steps)
    for step in bar(steps, "training", total=options.steps, initial=progress.step, unit="step"):
        if step % options.freq_step_eval_quant == 0 and step > progress.evaluated:
            run.save()
            link_atomically(start.folder.last_checkpoint, start.folder.step_checkpoint(step))
            metrics = run.interruptible(evaluate)
            metrics.pop("ood_curves", None)  # kept of the end only
            run.log.scalars(flatten({"eval": metrics}), **progress.position())
            results = progress.position() | metrics
            write_json(start.folder.path / f"evaluation-step{step}.json", results)
            run.log.say(beside_the_paper(results, start.script, options))
            progress.evaluated = step
            run.save()

        # One step.
        judge = discriminator.network if discriminator and step >= discriminator.thr else None
        for update in range(options.n_times_main):
            moving = None
            if step >= options.est_thr:
                since_threshold = (step - options.est_thr) * options.n_times_main + update
                moving = disenib.moving_encoder(since_threshold, options.est_style_optimize)
                progress.style_encoder_moves += moving == "style"
                progress.class_encoder_moves += moving == "class"
            index = next(main_stream)
            histories["main_losses"].add(main_update(images[index], labels[index], moving=moving, discriminator=judge))
        for _ in range(options.n_times_est):
            histories["est_losses"].add(est_update(images[next(est_stream)]))
        if discriminator:
            for _ in range(discriminator.n_times):
                index = next(main_stream)
                histories["disc_losses"].add(disenib.discriminator_update(
                    networks, discriminator.network, optimizers["discriminator_optimizer"], images[index],
                    labels[index], limit_acc=discriminator.limit_acc, **common,
                ))
        progress.step = step + 1
        progress.epoch = progress.step * main_batches_per_step // main_batches.per_pass

        # What is logged.
        if progress.step % options.freq_step_log == 0:
            run.check_finite()
            scalars = {}
            for losses in histories.values():
                scalars |= losses.means()
                losses.clear()
            if not judges:
                del scalars["loss_disc"]
            scalars |= {name: getattr(progress, name) for name in ("style_encoder_moves", "class_encoder_moves")}
            run.log.scalars(flatten({"train": scalars}), **progress.position())
            if progress.step % options.freq_step_chkpt < options.freq_step_log:  # about as often as a checkpoint
                run.log.say(step_line(scalars, progress.step, run.seconds))
                for warning in warnings(scalars, options, progress.step):
                    run.log.say(f"warning: {warning}")
        if pictures:
            pictures.on_the_way(run.log, progress.step)

        # When it is saved.
        if progress.step % options.freq_step_chkpt == 0:
            run.save()
        run.end_if_asked()

    def at_the_end() -> dict:
        if pictures:
            pictures.at_the_end(run.log, progress.step)
        return evaluate()

    if steps and progress.step % options.freq_step_chkpt:
        run.save()
    results = run.final_evaluation(at_the_end)
    run.log.say(closing(results, start))
    run.log.close()


def step_line(scalars: dict[str, float], step: int, seconds: float) -> str:
    names = ("loss_dec", "loss_rec", "loss_wall", "loss_est", "output_real", "output_fake", "disc_accuracy")
    shown = "  ".join(f"{name.removeprefix('loss_')} {scalars[name]:.4f}" for name in names if name in scalars)
    return f"step {step:6d}  {shown}  {seconds:8.0f} s"


def warnings(scalars: dict[str, float], options: DisenIBOptions, step: int) -> list[str]:
    """What went wrong in the last window of updates, in plain words."""
    found = []
    real, fake = scalars["output_real"], scalars["output_fake"]
    if step > options.est_thr and real - fake < 0.01:
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
