"""Train and evaluate an information bottleneck with a Lagrangian: VIB, NIB, squared-VIB, squared-NIB or a reference.

    python train_lagrangian.py --model=vib --dataset=mnist --lambda_kl=0.01 --desc=quant/mnist/vib
    python train_lagrangian.py --model=nib --dataset=mnist --lambda_kl=0.01 --desc=quant/mnist/nib
    python train_lagrangian.py --model=vib --hfunc=pow --dataset=mnist --lambda_kl=0.001 --desc=quant/mnist/squared-vib
    python train_lagrangian.py --model=nib --hfunc=pow --dataset=mnist --lambda_kl=0.001 --desc=quant/mnist/squared-nib
    python train_lagrangian.py --model=plain --dataset=mnist --desc=quant/mnist/plain
    python train_lagrangian.py --model=plain --dataset=mnist --train_attack=pgd --desc=quant/mnist/pgd-trained

The last two have no noise and no rate term: the same layers trained on cross entropy alone, and on PGD's images.
Each trains until the test accuracy has not improved for 10 epochs, prints losses and accuracies after every epoch,
and at the end a table of all metrics beside the published ones. On two CPU cores VIB takes 4.5 minutes for its 29
epochs; the others train for up to 51.
Everything is written to STORAGE/experiments/<desc>/seed<rand_seed>/ and STORAGE/tensorboard/<desc>/seed<rand_seed>/.
A run that was stopped, however it was, goes on with the same command and --resume.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from custom_pkg import options as opt
from custom_pkg.compute import generator
from custom_pkg.cuda_graphs import Graphed
from custom_pkg.errors import UserError, run_script
from custom_pkg.options import not_negative, option, positive, size
from custom_pkg.run_log import LossHistory
from custom_pkg.terminal import bar
from custom_pkg.training_run import Progress, Start, TrainingRun
from dataloader.batches import ShuffledBatches
from experiments import quantitative
from experiments.experiment import Loaded
from experiments.option_groups import ComparisonOptions
from experiments.start import closing, introduction, started
from modellib import ib_lagrangian
from modellib.evaluations.accuracy import accuracy
from modellib.ib_lagrangian import H_FUNCTIONS, MODELS, with_a_rate
from modellib.optimiser import adam

SCRIPT = Path(__file__).stem


@dataclass(frozen=True, kw_only=True)
class Options(ComparisonOptions):
    """Defaults are the published settings."""

    model: str = option(
        "vib", group="objective", choices=MODELS, instead={
            "disenib": "python train_disenib.py",
            **{f"squared{model}": f"--model={model} --hfunc=pow --lambda_kl=0.001" for model in ("vib", "nib")},
        },
        help="bound on I(X;T); plain has none, and a code without noise",
    )
    lambda_kl: float = option(
        0.01, group="objective", check=not_negative, only_with={"model": with_a_rate},
        help="weight of h(KL); published: 0.01 with --hfunc=none, 0.001 with --hfunc=pow",
    )
    hfunc: str = option(
        "none", group="objective", choices=H_FUNCTIONS, only_with={"model": with_a_rate},
        help="h(u): none u, pow u^(1+hfunc_param), exp e^(hfunc_param u)",
    )
    hfunc_param: float = option(
        1.0, group="objective", check=positive, only_with={"hfunc": ("pow", "exp")},
        help="parameter of h; 1 makes pow the square",
    )
    train_attack: str = option(
        "none", group="objective", choices=("none", "pgd"), help="pgd: train on images under attack (Madry et al. 2018)"
    )
    train_attack_epsilon: float = option(
        0.3, group="objective", check=positive, only_with={"train_attack": ("pgd",)},
        help="how far it may move a pixel, for images in [-1, 1]",
    )
    train_attack_steps: int = option(
        10, group="objective", check=size, only_with={"train_attack": ("pgd",)}, help="its steps, from a random start"
    )
    train_attack_step_size: float = option(
        0.075, group="objective", check=positive, only_with={"train_attack": ("pgd",)}, help="how far each goes"
    )

    emb_dim: int = option(16, group="networks", check=size, help="dimensions of the code T")
    enc_hidden_dims: tuple[int, ...] = option(
        (1024, 1024), group="networks", check=size, help="hidden layers of the encoder"
    )
    dec_hidden_dims: tuple[int, ...] = option(
        (), group="networks", check=size, help="hidden layers of the decoder; [] makes it linear"
    )
    vib_softplus_scalar: float = option(
        -1.0, group="networks", only_with={"model": ("vib", "ceb")},
        help="above 0: std = softplus(log std - this) instead of exp(log std)",
    )
    nib_log_std: float = option(
        1.0, group="networks", only_with={"model": ("nib",)}, help="initial log std, shared by all images"
    )
    nib_log_std_trainable: bool = option(
        True, group="networks", only_with={"model": ("nib",)}, help="whether that log std is trained"
    )

    batch_size: int = option(100, group="training", check=size, help="images per update")
    epochs: int = option(100, group="training", check=positive, help="passes over the training set at most")
    learning_rate: float = option(
        1e-4, group="training", check=positive, help="of Adam, times 0.97 after every second epoch"
    )
    early_stop_trials: int = option(
        10, group="training", help="stop after so many epochs without a better test accuracy; 0 or less: never"
    )


@dataclass
class LagrangianProgress(Progress):
    best_accuracy: float = -1.0  # on the test set, of sampled codes
    best_epoch: int = 0

    def ended(self, options: Options) -> bool:
        out_of_trials = 0 < options.early_stop_trials <= self.epoch - self.best_epoch
        return out_of_trials or self.epoch >= options.epochs


def main() -> None:
    options = opt.parse(Options, description=__doc__)
    if not options.resume and (complaint := ib_lagrangian.power_complaint(options.model, options.hfunc)):
        raise UserError(complaint)
    with started(SCRIPT, options) as (start, loaded):
        train(options, start, loaded)


def train(options: Options, start: Start, loaded: Loaded) -> None:
    """Train to the end, from wherever the run stands, and evaluate."""
    seed, device = options.rand_seed, start.device
    images, labels = loaded.sets["train"]
    model, networks = quantitative.lagrangian_model(start.data, options)
    for network in networks:  # with those that no evaluation needs: CEB's class marginal is none of the model's
        network.to(device)
    optimizer = adam([parameter for network in networks for parameter in network.parameters()], options.learning_rate)
    batches = ShuffledBatches(len(images), options.batch_size, generator(seed, "batches"), device)
    noise = generator(seed, "noise", device=device)
    update = Graphed(partial(
        ib_lagrangian.update, networks, optimizer, rate=MODELS[options.model].rate,
        h=ib_lagrangian.h_function(options.hfunc, options.hfunc_param), lambda_kl=options.lambda_kl, generator=noise,
        attack=attack_of(options),
    ), device, noise)
    losses = LossHistory(ib_lagrangian.Losses, batches.per_pass, device)
    progress = LagrangianProgress()
    run = TrainingRun(
        start, progress, {**networks._asdict(), "optimizer": optimizer, "batches": batches, "losses": losses},
        {"noise": noise},
    )
    run.open()
    rate = f"h = {options.hfunc}, lambda_kl = {options.lambda_kl}" if MODELS[options.model].rate else "no rate term"
    against = "" if options.train_attack == "none" else f"trained against {options.train_attack.upper()}, "
    run.log.say(introduction(f"{options.model.upper()}, {rate}, {against}seed {seed}", start, loaded, progress.step))

    while not progress.ended(options):
        # One epoch of steps.
        began = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * 0.97 ** (progress.epoch // 2)
        update.forget()  # a recording has its learning rate in it
        what = f"epoch {progress.epoch + 1}/{options.epochs}"
        for index in bar(batches.one_pass(), what, total=batches.per_pass, initial=batches.position, unit="update"):
            losses.add(update(images[index], labels[index]))
            progress.step += 1
            run.end_if_asked()
        run.check_finite()
        progress.epoch += 1

        # What is logged.
        metrics = {f"train/{name}": value for name, value in losses.means().items()}
        metrics["train/learning_rate"] = optimizer.param_groups[0]["lr"]
        for split in loaded.sets:
            result = accuracy(
                networks.encoder, networks.decoder, *loaded.sets[split], batch_size=options.eval_batch_size,
                generator=generator(seed, "accuracy", split, progress.epoch, device=device),
                progress=partial(bar, what=f"accuracy, {split} set", unit="batch"),
            )
            metrics |= {f"eval/{split}/{name}": value for name, value in result.items()}
        losses.clear()

        # When it is saved.
        improved = metrics["eval/test/accuracy"] > progress.best_accuracy
        if improved:
            progress.best_accuracy, progress.best_epoch = metrics["eval/test/accuracy"], progress.epoch

        run.log.scalars(metrics, **progress.position())
        run.save(best=improved)
        run.log.say(epoch_line(metrics, progress, time.monotonic() - began))
        run.end_if_asked()

    def at_the_end() -> dict:
        metrics = quantitative.evaluate_published(model, loaded, options=options)
        quantitative.show(run.log, model, loaded, metrics, step=progress.step, batch_size=options.eval_batch_size)
        return metrics

    results = run.final_evaluation(at_the_end)
    run.log.say(closing(results, start))
    run.log.close()


def attack_of(options: Options) -> Callable | None:
    """What the images of every update go through first."""
    if options.train_attack == "none":
        return None
    return partial(
        ib_lagrangian.pgd_images, epsilon=options.train_attack_epsilon, steps=options.train_attack_steps,
        step_size=options.train_attack_step_size,
    )


def epoch_line(metrics: dict[str, float], progress: LagrangianProgress, seconds: float) -> str:
    return (
        f"epoch {progress.epoch:3d}  dec {metrics['train/loss_dec']:.4f}  kl {metrics['train/loss_kl']:8.3f}  "
        f"train {metrics['eval/train/accuracy']:7.2%}  test {metrics['eval/test/accuracy']:7.2%}  "
        f"best {progress.best_accuracy:7.2%} at {progress.best_epoch:<3d} {seconds:6.1f} s"
    )


if __name__ == "__main__":
    run_script(main)
