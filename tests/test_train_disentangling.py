"""The three scripts of supervised disentangling on a part of their data, shortened."""

import html
import json
import math
import re
import shlex
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import (
    CHROMIUM,
    assert_refused,
    contents,
    execute,
    in_chromium,
    points,
    results,
    run_of,
    state_of,
    terminated_at,
)
from PIL import Image
from torch.nn import functional as F

import dataloader
import train_disenib_mnist
import train_disenib_shapes
import train_disenib_sprites
from custom_pkg import options as opt
from custom_pkg import training_run
from experiments import supervised_disentangling
from experiments.runs import load_run
from modellib import disenib
from modellib.evaluations import protocol
from reporting import swaps_page

SHORT = (
    "--steps=4 --est_thr=1 --n_times_main=2 --freq_step_log=1 --freq_step_chkpt=2 --freq_step_eval=2 "
    "--freq_step_eval_quant=2 --batch_size=16"
).split()
COMMANDS = {
    "mnist": "python train_disenib_mnist.py --desc=disentangling/mnist/disenib",
    "shapes": "python train_disenib_shapes.py --desc=disentangling/shapes/disenib",
    "sprites": "python train_disenib_sprites.py --desc=disentangling/sprites/disenib",
}
OWN = {  # what is tested of a data set's own
    "mnist": ["--disc_thr=1"],
    "shapes": ["--data_source=rendered"],
    "sprites": ["--data_source=rendered"],
}


def part_of(data, n_styles):
    """The data set with its last styles only, and the pictured ones, in every class."""
    kept = {tuple(map(int, values[1:])) for values in supervised_disentangling.PICTURED[data.name]}

    def part(split):
        per_class = len(split.labels) // data.n_classes
        styles = split.factors[:per_class, 1:].tolist()
        rows = torch.tensor([i for i, style in enumerate(styles) if tuple(style) in kept or i >= per_class - n_styles])
        rows = torch.cat([rows + label * per_class for label in range(data.n_classes)])
        return dataloader.Split(split.images[rows], split.labels[rows], split.factors[rows])

    return replace(data, train=part(data.train), test=part(data.test))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Small data sets by name: digits at MNIST's size in its place, parts of the rendered ones."""
    root = tmp_path_factory.mktemp("data")
    digits = dataloader.load("digits", root)

    def enlarged(split, n):
        images = F.interpolate(split.images[:n], size=(28, 28), mode="bilinear").clamp(0, 1)
        return dataloader.Split(images, split.labels[:n])

    mnist = replace(digits, name="mnist", train=enlarged(digits.train, 400), test=enlarged(digits.test, 100))
    factored = {
        name: part_of(dataloader.load(name, root, data_source="rendered", report=lambda line: None), 20)
        for name in ("shapes", "sprites")
    }
    return {"mnist": mnist, **factored}


@pytest.fixture(autouse=True)
def small_data(loaded, monkeypatch):
    real = dataloader.load

    def load(name, data_root, **choices):
        if choices.get("holdout") == 0:
            data = loaded[name]
            return replace(data, test=replace(data.test, images=data.test.images[:0], labels=data.test.labels[:0]))
        return loaded[name] if name in loaded else real(name, data_root, **choices)

    monkeypatch.setattr(dataloader, "load", load)
    monkeypatch.setattr(supervised_disentangling, "N_SWAPS", 40)


def train(cwd, name, *flags):
    words = shlex.split(COMMANDS[name])
    return execute(cwd, words[1], *words[2:], *SHORT, *OWN[name], *flags)


def folder(cwd, name):
    return run_of(cwd, f"disentangling/{name}/disenib")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, loaded):
    """Working directories of undisturbed runs, by name of the data set; made when first asked for."""
    made = {}

    def of(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            outcome = train(made[name], name)
            assert outcome.status == 0, outcome
        return made[name]

    return of


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_of_the_paper_runs_to_its_end_and_leaves_numbers_and_pictures(finished, name):
    run = folder(finished(name), name)
    for file in ("evaluation-step2.json", "evaluation.json"):
        evaluation = json.loads((run.path / file).read_text())
        for split in ("train", "test"):
            result = evaluation[split]
            wanted = {
                "accuracy", "accuracy_mean_code", "mi_xt", "mi_yt", "mi_xs", "style_to_label_accuracy",
                "style_to_label_knn_accuracy", "style_to_label_chance", "class_to_label_accuracy",
                "class_to_label_knn_accuracy",
            }
            wanted |= {
                "swap_mse", "swap_psnr", "reconstruction_mse", "class_mean_mse", "swap_shows_label",
            } if name != "mnist" else {
                "swap_recognised", "classifier_accuracy", "swap_slant_correlation", "swap_thickness_correlation",
            }
            assert wanted <= result.keys()
            assert all(math.isfinite(result[key]) for key in wanted)
            factors = {"mnist": set(), "shapes": {"orientation", "x", "y"}, "sprites": {"viewpoint", "frame"}}[name]
            assert result.get("style_to_factor_knn_accuracy", {}).keys() == factors
            assert result.get("swap_shows_factor", {}).keys() == factors
            assert result.get("swap_factor_off", {}).keys() == factors & {"x", "y"}
    pictures = {path.name for path in (run.path / "disentangling").iterdir()}
    assert pictures == {
        "train-step000002.png", "train-step000004.png", "fixed-step000002.png", "fixed-step000004.png",
        "held-out.png", "interpolation.png", "training.gif",
    }


def test_the_discriminator_moves_as_often_and_pictures_are_as_large_as_is_asked_for(tmp_path, monkeypatch):
    calls, original = [], disenib.discriminator_update
    monkeypatch.setattr(disenib, "discriminator_update", lambda *a, **k: calls.append(1) or original(*a, **k))
    counts, widths = [], []
    for flags in ([], ["--n_times_disc=3", "--eval_dis_n_samples=4"]):
        assert train(tmp_path, "mnist", *flags, "--overwrite").status == 0
        with Image.open(folder(tmp_path, "mnist").path / "disentangling" / "held-out.png") as picture:
            widths.append(picture.width)
        counts.append(len(calls))
    assert counts[1] == 4 * counts[0] > 0 and widths[0] != widths[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_evaluate_gives_the_figures_of_the_run_again(finished, name):
    cwd = finished(name)
    outcome = execute(cwd, "evaluate.py", f"--desc=disentangling/{name}/disenib")
    assert outcome.status == 0, outcome
    path = folder(cwd, name).path
    again, first = (results(path / f"{file}.json") for file in ("evaluation-last", "evaluation"))
    assert again == first


def test_on_request_strong_probes_read_both_codes_and_dci_is_there_where_factors_are_known(finished):
    for name in ("shapes", "mnist"):
        outcome = execute(finished(name), "evaluate.py", f"--desc=disentangling/{name}/disenib", "--metrics=probes")
        assert outcome.status == 0, outcome
        found = results(folder(finished(name), name).path / "evaluation-last.json")
        for split in ("train", "test"):
            read = {key: value for key, value in found[split].items() if key.startswith("dci_") or "mlp" in key}
            assert len(read) == (7 if name == "shapes" else 2) and all(0 <= value <= 1 for value in read.values())
        assert ("DCI completeness of T and S as wholes, %" in outcome.out) == (name == "shapes")


@pytest.mark.parametrize("name, update", [("mnist", 3), ("mnist", 6), ("shapes", 5)])
def test_a_stopped_run_resumes_to_the_same_bits(finished, tmp_path, name, update):
    with terminated_at(update, disenib, "main_update"):
        assert train(tmp_path, name).status == 128 + signal.SIGTERM
    assert train(tmp_path, name, "--resume").status == 0
    run, wanted = folder(tmp_path, name), folder(finished(name), name)
    assert state_of(run.last) == state_of(wanted.last)
    for file in ("metrics.jsonl", "evaluation.json"):
        assert (run.path / file).read_bytes() == (wanted.path / file).read_bytes(), file
    assert points(run.tensorboard) == points(wanted.tensorboard)
    pictures, wanted_pictures = (contents(one.path / "disentangling") for one in (run, wanted))
    assert pictures == wanted_pictures


@pytest.mark.parametrize("longer", [False, True])
def test_pictures_are_in_tensorboard_too_also_of_a_run_that_became_longer(finished, tmp_path, longer):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = folder(finished("mnist"), "mnist")
    if longer:
        for flags in (["--steps=3"], ["--resume"]):
            assert train(tmp_path, "mnist", *flags).status == 0
        wanted, run = run, folder(tmp_path, "mnist")
        assert contents(run.path / "disentangling") == contents(wanted.path / "disentangling")
        assert state_of(run.last) == state_of(wanted.last)
    reader = EventAccumulator(str(run.tensorboard)).Reload()
    steps = {name: [event.step for event in reader.Images(name)] for name in reader.Tags()["images"]}
    assert steps == {
        "pictures/train": [2, 4], "pictures/fixed": [2, 4], "pictures/held-out": [4], "pictures/interpolation": [4],
    }


def test_a_picture_shows_the_images_of_a_small_class_again():
    labels = torch.tensor([0, 0, 1, 1, 1, 2, 2])
    images = SimpleNamespace(sets={"train": (labels, labels)}, data=SimpleNamespace(
        n_classes=3, train=SimpleNamespace(labels=labels, factors=None)))
    options = SimpleNamespace(eval_dis_n_samples=10, freq_step_eval=1, rand_seed=0)
    pictures = supervised_disentangling.Pictures(None, images, None, options)
    assert pictures._fixed.tolist() == [0, 2, 5, 1, 3, 6, 0, 4, 5, 1]


def test_the_animation_has_a_frame_for_every_fixed_picture(finished):
    run = folder(finished("mnist"), "mnist")
    with Image.open(run.path / "disentangling" / "training.gif") as gif:
        assert gif.n_frames == 2 and gif.info["loop"] == 0


def test_the_discriminator_is_trained_logged_and_counts_from_its_step_on(finished):
    lines = [json.loads(line) for line in (folder(finished("mnist"), "mnist").path / "metrics.jsonl").open()]
    training = [line for line in lines if "train/loss_disc" in line]
    assert [line["train/loss_disc"] > 0 for line in training] == [False, True, True, True]
    assert all({f"train/{term}" for term in disenib.DiscriminatorTerms._fields} <= line.keys() for line in training)
    assert "discriminator" in state_of(folder(finished("mnist"), "mnist").last)


def test_the_time_of_training_leaves_out_the_evaluations_on_the_way(tmp_path, monkeypatch):
    now = 0.0

    def taking(seconds, real):
        def call(*arguments, **keywords):
            nonlocal now
            now += seconds
            return real(*arguments, **keywords)

        return call

    monkeypatch.setattr(training_run, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(disenib, "main_update", taking(1, disenib.main_update))
    monkeypatch.setattr(protocol, "evaluate", taking(1000, protocol.evaluate))
    assert train(tmp_path, "shapes").status == 0
    path = folder(tmp_path, "shapes").path
    assert json.loads((path / "times.json").read_text()) == {"training": 8.0, "evaluation": 1000.0}
    steps = [line for line in (path / "train.log").read_text().splitlines() if " dec " in line]
    assert [line.split()[-2:] for line in steps] == [["4", "s"], ["8", "s"]]


def test_without_held_out_styles_there_are_numbers_for_the_training_set_alone(tmp_path):
    outcome = train(tmp_path, "shapes", "--holdout=0", "--freq_step_eval_quant=100")
    assert outcome.status == 0, outcome
    path = folder(tmp_path, "shapes").path
    evaluation = json.loads((path / "evaluation.json").read_text())
    assert "swap_mse" in evaluation["train"] and "test" not in evaluation
    assert not (path / "disentangling" / "held-out.png").exists()
    assert (path / "disentangling" / "interpolation.png").exists()
    evaluate = ("evaluate.py", "--desc=disentangling/shapes/disenib", "--metrics=accuracy")
    assert_refused(execute(tmp_path, *evaluate, "--split=test"), "--split=test", "held out")
    assert execute(tmp_path, *evaluate).status == 0


def test_the_source_of_the_images_stands_in_log_and_config(finished):
    path = folder(finished("shapes"), "shapes").path
    assert json.loads((path / "config.json").read_text())["data"]["source"] == "rendered by this project"
    assert "rendered by this project" in (path / "train.log").read_text()


@pytest.mark.parametrize("script, changes", [
    (train_disenib_mnist, {
        "n_times_main": 10, "n_times_est": 1, "est_thr": 3000, "style_dim": 16, "class_dim": 16, "lambda_rec": 10.0,
        "lambda_est": 0.5, "lambda_disc": 0.1, "disc_thr": 1000, "disc_limit_acc": 0.8,
    }),
    (train_disenib_shapes, {
        "n_times_main": 5, "n_times_est": 3, "est_thr": 3000, "style_dim": 16, "class_dim": 16, "lambda_rec": 100.0,
        "lambda_est": 1.0, "data_source": "auto",
    }),
    (train_disenib_sprites, {
        "n_times_main": 5, "n_times_est": 3, "est_thr": 5000, "style_dim": 512, "class_dim": 512, "lambda_rec": 10.0,
        "lambda_est": 1.0, "data_source": "auto",
    }),
])
def test_the_defaults_are_the_published_settings(script, changes):
    published = {
        "lambda_dec": 1.0, "lambda_wall": 10.0, "emb_radius": 3.0, "lambda_est_zc": 0.05, "est_style_optimize": 4,
        "style_std": 0.1, "class_std": 1.0, "est_style_std": 0.1, "est_class_std": 0.1, "steps": 20000, "n_samples": 1,
        "batch_size": 64, "learning_rate": 1e-4, "freq_step_chkpt": 1000, "freq_step_eval": 500, **changes,
    }
    assert published.items() <= opt.to_dict(opt.parse(script.Options, ["--desc=d"])).items()


def test_metrics_that_a_run_has_not_are_refused(finished):
    outcome = execute(finished("mnist"), "evaluate.py", "--desc=disentangling/mnist/disenib", "--metrics=attack")
    assert_refused(outcome, "--metrics=attack", "swaps")


def test_options_of_metrics_that_a_run_has_not_are_refused(finished):
    flag = "--eval_odin_out_data=uniform"
    assert_refused(execute(finished("mnist"), "evaluate.py", "--desc=disentangling/mnist/disenib", flag), flag)


PLAY = """
onload = async () => {
  const answers = [];
  for (const [number, part] of parts.entries()) {
    document.querySelectorAll("#data input")[number].click();
    document.querySelectorAll("#classes input")[part.classes.length - 1].click();
    document.querySelectorAll("#from input")[part.n_images - 1].click();
    for (const [selector, value] of [["#way", 0.25], ["#sliders input", -1.5]]) {
      const input = document.querySelector(selector);
      input.value = value;
      input.dispatchEvent(new Event("input", {bubbles: true}));
    }
    await new Promise(done => setTimeout(done, 100));
    const copy = document.createElement("canvas");
    [copy.width, copy.height] = [large.width, large.height];
    copy.getContext("2d").drawImage(large, 0, 0);
    answers.push({
      title: part.title, label: state.label, from: state.from, way: state.way, amounts: state.amounts,
      own: [...reconstruction(part, part.styles.subarray(0, part.centre.length), 0)],
      shown: [...copy.getContext("2d").getImageData(0, 0, copy.width, copy.height).data],
      wide: document.documentElement.scrollWidth,
    });
  }
  const answer = document.createElement("pre");
  answer.id = "answer";
  answer.textContent = JSON.stringify(answers);
  document.body.append(answer);
};
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome is installed")
def test_the_page_to_play_with_draws_in_a_browser_what_the_networks_draw(finished, tmp_path):
    paths = [run_of(finished(name), f"disentangling/{name}/disenib").last for name in COMMANDS]
    said = swaps_page.write(paths, tmp_path, data_root="data", label=None)
    text = (tmp_path / "swaps.html").read_text(encoding="utf-8")
    assert "MNIST, Shapes, Sprites" in said and len(text) < 8 * 2**20
    assert not re.search(r"https?:|@import|fetch\(|import\(|XMLHttpRequest", text)
    page = tmp_path / "page.html"
    page.write_text(text.replace("</body>", f"<script>{PLAY}</script></body>"), encoding="utf-8")
    found = in_chromium(page, "--window-size=500,900", "--dump-dom")
    assert "CONSOLE" not in found.stderr, found.stderr[-2000:]
    answers = json.loads(html.unescape(re.search(r'<pre id="answer">(.*?)</pre>', found.stdout)[1]))
    assert [answer["title"] for answer in answers] == ["MNIST", "Shapes", "Sprites"]
    for path, answer in zip(paths, answers, strict=True):
        run = load_run(path, device="cpu")
        images, labels = run.data.sets["test"]
        n_classes = run.saved["data"]["n_classes"]
        chosen = swaps_page.one_of_each(labels, n_classes, min(swaps_page.N_IMAGES, len(labels)))
        with torch.no_grad():
            every, _ = run.model.style_encoder(images)
            own = every[chosen]
            # Their own directions, by another way than the page's: of the covariance.
            values, vectors = torch.linalg.eigh((every - every.mean(0)).double().T.cov())
            moved = own[-1] * 0.75 + own[1] * 0.25
            first = vectors[:, -1].float() * values[-1].sqrt().float()
            wanted = [run.model.reconstructor(own[:1], torch.tensor([0]))] + [
                run.model.reconstructor((moved - sign * 1.5 * first)[None], torch.tensor([n_classes - 1]))
                for sign in (1, -1)  # whichever way the direction points
            ]
        assert (answer["label"], answer["from"], answer["way"]) == (n_classes - 1, len(chosen) - 1, 0.25)
        assert answer["amounts"][0] == -1.5 and not any(answer["amounts"][1:]) and answer["wide"] <= 500
        own, wanted = wanted[0].flatten(), [one[0].expand(3, -1, -1) for one in wanted[1:]]
        assert (torch.tensor(answer["own"]) - own).abs().max() < 1e-4
        shown = torch.tensor(answer["shown"]).view(*images.shape[2:], 4)[:, :, :3].permute(2, 0, 1)
        assert min((shown - 255 * one).abs().max() for one in wanted) <= 2


def test_the_page_to_play_with_asks_for_a_trained_run(tmp_path, finished):
    outcome = execute(tmp_path, "reproduce.py", "--report", "--with=swaps-page")
    assert_refused(outcome, "no finished disentangling run", "--only=disentangling-shapes")
    assert list(tmp_path.iterdir()) == []
    outcome = execute(finished("shapes"), "reproduce.py", "--report", "--with=swaps-page")
    assert outcome.status == 0 and "results/swaps.html: Shapes, " in outcome.out
    assert 'href="swaps.html"' in (finished("shapes") / "results/report.html").read_text(encoding="utf-8")


def test_with_sampled_codes_the_information_of_the_mean_code_is_left_out(finished):
    flags = ["--desc=disentangling/mnist/disenib", "--metrics=information", "--split=test", "--code=sample"]
    assert execute(finished("mnist"), "evaluate.py", *flags).status == 0
    folder = run_of(finished("mnist"), "disentangling/mnist/disenib").path
    whole, sampled = (results(folder / f"evaluation{which}.json") for which in ("", "-last-sample-code"))
    assert sampled["test"].items() <= whole["test"].items()
    assert "mi_xt" in sampled["test"] and "mi_xt_mean_code" not in sampled["test"]
