import json
import math
import os
import shlex
import shutil
import signal

import pytest
from conftest import SMALL_DISENIB, execute, points, results, run_of, state_of, terminated_at
from conftest import train_disenib as train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train_disenib
from custom_pkg import options as opt
from experiments import disenib_loop
from modellib import disenib
from modellib.evaluations import protocol


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("finished-disenib")
    assert train(cwd).status == 0
    return cwd


def test_the_command_of_the_paper_runs_to_its_end_and_leaves_what_is_promised(tmp_path):
    words = shlex.split("python train_disenib.py --dataset=mnist --desc=quant/mnist/disenib")
    outcome = execute(tmp_path, words[1], *words[2:], *SMALL_DISENIB, "--desc=quant/mnist/disenib")
    assert outcome.status == 0, outcome
    run = run_of(tmp_path, "quant/mnist/disenib")
    for name in ("evaluation-step4.json", "evaluation.json"):
        evaluation = json.loads((run.path / name).read_text())
        for part in ("train", "test"):
            wanted = {"accuracy", "accuracy_mean_code", "mi_xt", "mi_xt_mean_code", "mi_yt", "mi_yt_mean_code", "mi_xs"}
            assert wanted <= evaluation[part].keys()
            assert all(math.isfinite(evaluation[part][key]) for key in wanted)
        assert 0 <= evaluation["test"]["style_to_label_accuracy"] <= 1
    assert evaluation["step"] == 8
    assert "label from the style code" in outcome.out and "step      6" in outcome.out


def test_tensorboard_has_the_information_plane_of_every_evaluation(finished):
    reader = EventAccumulator(str(run_of(finished, "d").tensorboard)).Reload()
    assert [picture.step for picture in reader.Images("pictures/information-plane")] == [4, 8]


def test_every_term_of_both_objectives_is_logged(finished):
    lines = [json.loads(line) for line in (run_of(finished, "d").path / "metrics.jsonl").read_text().splitlines()]
    training = [line for line in lines if "train/loss_dec" in line]
    assert [line["step"] for line in training] == [2, 4, 6, 8]
    names = {*disenib.MainTerms._fields, *disenib.EstimatorTerms._fields} - {"loss_disc"}
    terms = {f"train/{name}" for name in names}
    assert terms <= training[0].keys() and "train/loss_disc" not in training[0]
    # Three updates a step, the term from step 3 on: after 2, 4, 6 and 8 steps it has come 0, 3, 9 and 15 times.
    moves = [(line["train/style_encoder_moves"], line["train/class_encoder_moves"]) for line in training]
    assert moves == [(0, 0), (3, 0), (8, 1), (12, 3)]


def test_from_the_threshold_on_the_estimator_term_moves_the_style_encoder_four_times_and_the_class_encoder_once(
    tmp_path, monkeypatch
):
    original, moved = disenib.main_update, []

    def watched(networks, *arguments, **keywords):
        terms = original(networks, *arguments, **keywords)
        encoders = (("S", networks.style_encoder), ("T", networks.class_encoder))
        moved.append("".join(name for name, encoder in encoders if any(p.grad.any() for p in encoder.parameters())))
        return terms

    monkeypatch.setattr(disenib, "main_update", watched)
    assert train(tmp_path, "--lambda_dec=0", "--lambda_rec=0", "--lambda_wall=0").status == 0  # no other term
    # Three updates a step, so that the turns go on across steps.
    assert moved == [""] * 3 * 3 + ["S", "S", "S", "S", "T"] * 3


def test_parts_can_be_left_out_and_classes_held_out_and_strong_probes_read_what_is_left(tmp_path, monkeypatch):
    drawn_around = []
    original = disenib.estimator_objective

    def watched(*arguments, cluster, **keywords):
        drawn_around.append(cluster)
        return original(*arguments, cluster=cluster, **keywords)

    monkeypatch.setattr(disenib, "estimator_objective", watched)
    outcome = train(tmp_path, "--cluster=False", "--spectral_norm=False", "--held_out_classes=[0,9]")
    assert outcome.status == 0 and set(drawn_around) == {disenib.unclustered}
    assert "--spectral_norm=False in place of True" not in outcome.out  # of digits the paper has nothing anyway
    run = run_of(tmp_path, "d")
    state = state_of(run.last)["density_estimator"]
    assert state.keys() == disenib.DensityEstimator(16, 16).state_dict().keys()
    evaluation = results(run.path / "evaluation.json")
    assert evaluation["ood"].keys() == {"gauss", "held_out"} and evaluation["test"]["style_to_label_chance"] < 0.2
    assert execute(tmp_path, "evaluate.py", "--desc=d", "--metrics=probes,detection").status == 0
    later = results(run.path / "evaluation-last.json")
    assert later["ood"] == evaluation["ood"]
    for code in ("style", "class"):
        assert all(0 <= later["test"][f"{code}_to_label_{probe}accuracy"] <= 1 for probe in ("", "knn_", "mlp_"))
    assert later["test"]["style_to_label_accuracy"] == evaluation["test"]["style_to_label_accuracy"]


@pytest.mark.parametrize("update", [1, 5, 8, 12, 13, 24])  # first step to last, one at the evaluation
def test_a_stopped_run_resumes_to_the_same_bits(tmp_path, finished, update):
    with terminated_at(update, disenib, "main_update"):
        outcome = train(tmp_path)
    assert outcome.status == 128 + signal.SIGTERM and "--resume" in outcome.err
    assert train(tmp_path, "--resume").status == 0
    run, wanted = run_of(tmp_path, "d"), run_of(finished, "d")
    assert state_of(run.last) == state_of(wanted.last)
    for name in ("metrics.jsonl", "evaluation.json", "evaluation-step4.json"):
        assert (run.path / name).read_bytes() == (wanted.path / name).read_bytes(), name
    assert points(run.tensorboard) == points(wanted.tensorboard)


def test_a_finished_run_that_goes_on_for_longer_ends_like_one_that_was_so_long_from_the_start(tmp_path, finished):
    assert train(tmp_path, "--steps=4").status == 0  # where the longer one evaluates on its way
    assert train(tmp_path, "--resume").status == 0
    run, wanted = run_of(tmp_path, "d"), run_of(finished, "d")
    assert state_of(run.last) == state_of(wanted.last)
    for name in ("metrics.jsonl", "evaluation.json", "evaluation-step4.json", "until-step4/evaluation.json"):
        shown = wanted.path / name.replace("until-step4/evaluation", "evaluation-step4")
        assert (run.path / name).read_bytes() == shown.read_bytes(), name
    assert points(run.tensorboard) == points(wanted.tensorboard)


def test_an_evaluation_on_the_way_that_is_stopped_is_made_again(tmp_path, finished, monkeypatch):
    def stopped(*arguments, **keywords):
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(protocol, "accuracy", stopped)
        outcome = train(tmp_path)
    assert outcome.status == 128 + signal.SIGINT and "--resume" in outcome.err
    run, wanted = run_of(tmp_path, "d"), run_of(finished, "d")
    assert (run.path / "checkpoints" / "step4.pt").exists() and not (run.path / "evaluation-step4.json").exists()
    assert train(tmp_path, "--resume").status == 0
    assert (run.path / "metrics.jsonl").read_bytes() == (wanted.path / "metrics.jsonl").read_bytes()
    assert state_of(run.last) == state_of(wanted.last)


def test_the_checkpoint_of_a_step_gives_the_evaluation_of_that_step_again(tmp_path, finished):
    cwd = shutil.copytree(finished, tmp_path / "run")
    path = run_of(cwd, "d").path
    wanted = results(path / "evaluation-step4.json")
    again = ["evaluate.py", "--desc=d", f"--checkpoint={path}/checkpoints/step4.pt"]
    assert execute(cwd, *again, "--metrics=accuracy").status == 0
    assert results(path / "evaluation-step4.json") == wanted  # with all else that training has measured then
    (path / "evaluation-step4.json").unlink()
    assert execute(cwd, *again).status == 0
    assert results(path / "evaluation-step4.json") == wanted and wanted["step"] == 4


def test_a_part_of_the_metrics_is_the_same_as_in_the_whole(finished):
    path = run_of(finished, "d").path
    (path / "evaluation-last.json").unlink(missing_ok=True)
    assert execute(finished, "evaluate.py", "--desc=d", "--metrics=information", "--split=test").status == 0
    part = json.loads((path / "evaluation-last.json").read_text())
    whole = json.loads((path / "evaluation.json").read_text())
    assert part["test"].items() <= whole["test"].items() and "style_to_label_accuracy" in part["test"]
    assert execute(finished, "evaluate.py", "--desc=d", "--metrics=accuracy,attack,detection,calibration").status == 0
    assert execute(finished, "evaluate.py", "--desc=d", "--metrics=information", "--split=train").status == 0
    assert results(path / "evaluation-last.json") == whole  # the parts, put together


def test_bf16_trains_and_is_recorded(tmp_path):
    assert train(tmp_path, "--precision=bf16").status == 0
    config = json.loads((run_of(tmp_path, "d").path / "config.json").read_text())
    assert config["options"]["precision"] == "bf16" and config["options"]["compile"] is False


def test_a_collapsed_estimator_and_codes_beyond_the_wall_are_said_in_plain_words():
    options = opt.parse(train_disenib.Options, ["--desc=d"])
    fine = {"output_real": 0.5, "output_fake": -0.5, "largest_code": 3.2}
    assert disenib_loop.warnings(fine, options, 5000) == []
    [collapsed] = disenib_loop.warnings({**fine, "output_fake": 0.495}, options, 5000)
    [far] = disenib_loop.warnings({**fine, "largest_code": 7.0}, options, 5000)
    assert "collapsed" in collapsed and "wall" in far


def test_the_defaults_are_the_published_settings():
    published = {
        "lambda_dec": 1.0, "lambda_rec": 10.0, "lambda_wall": 10.0, "emb_radius": 3.0, "lambda_est": 0.5,
        "lambda_est_zc": 0.05, "est_thr": 3000, "est_style_optimize": 4, "style_dim": 16, "class_dim": 16,
        "enc_hidden_dims": [1024, 1024], "dec_hidden_dims": [], "rec_hidden_dims": [1024, 1024], "style_std": 0.1,
        "class_std": 1.0, "est_style_std": 0.1, "est_class_std": 0.1, "steps": 20000, "n_times_main": 10,
        "n_times_est": 3, "n_samples": 10, "batch_size": 64, "learning_rate": 1e-4, "freq_step_chkpt": 1000,
        "freq_step_eval_quant": 5000, "eval_batch_size": 2560, "precision": "fp32", "compile": False,
    }
    defaults = opt.to_dict(opt.parse(train_disenib.Options, ["--desc=d"]))
    assert published.items() <= defaults.items()


def test_a_hundred_steps_on_digits_learn_to_classify_and_to_reconstruct(tmp_path):
    outcome = train(
        tmp_path, "--steps=100", "--est_thr=40", "--n_times_main=5", "--n_times_est=1", "--enc_hidden_dims=[64]",
        "--rec_hidden_dims=[64]", "--learning_rate=3e-3", "--freq_step_log=10", "--freq_step_chkpt=100",
        "--freq_step_eval_quant=100",
    )
    assert outcome.status == 0, outcome
    path = run_of(tmp_path, "d").path
    test = json.loads((path / "evaluation.json").read_text())["test"]
    assert test["accuracy_mean_code"] > 0.9  # chance is 0.1
    assert 2 < test["mi_xt_mean_code"] < math.log(450) and test["mi_yt_mean_code"] > 2  # ln 10 = 2.30
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    losses = [line["train/loss_rec"] for line in lines if "train/loss_rec" in line]
    assert losses[-1] < losses[0] / 3


def test_evaluate_gives_the_figures_of_the_run_again(finished):
    assert execute(finished, "evaluate.py", "--desc=d").status == 0
    path = run_of(finished, "d").path
    again, first = (results(path / f"{name}.json") for name in ("evaluation-last", "evaluation"))
    assert again == first
