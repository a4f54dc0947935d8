import json
import math
import os
import shlex
import signal

import pytest
from conftest import assert_refused, execute, points, run_of, state_of

from modellib import disenib

SMALL = (  # on scikit-learn's digits
    "--dataset=digits --desc=d --enc_hidden_dims=[16] --rec_hidden_dims=[16] --steps=8 --est_thr=3 --n_times_main=3 "
    "--freq_step_log=2 --freq_step_chkpt=3 --freq_step_eval_quant=4"
).split()


def train(cwd, *flags):
    return execute(cwd, "train_disenib.py", *SMALL, *flags)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("finished-disenib")
    assert train(cwd).status == 0
    return cwd


def test_the_command_of_the_paper_runs_to_its_end_and_leaves_what_is_promised(tmp_path):
    words = shlex.split("python train_disenib.py --dataset=mnist --desc=quant/mnist/disenib")
    outcome = execute(tmp_path, words[1], *words[2:], *SMALL, "--desc=quant/mnist/disenib")
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
    assert "label from the style code" in outcome.out and "step      3" in outcome.out


def test_every_term_of_both_objectives_is_logged(finished):
    lines = [json.loads(line) for line in (run_of(finished, "d").path / "metrics.jsonl").read_text().splitlines()]
    training = [line for line in lines if "train/loss_dec" in line]
    assert [line["step"] for line in training] == [2, 4, 6, 8]
    assert {f"train/{name}" for name in disenib.MAIN_TERMS + disenib.ESTIMATOR_TERMS} <= training[0].keys()
    # Three updates a step, the term from step 3 on: the windows hold 0, 3, 6 and 6 updates with it, turns of 4 and 1.
    style, of_class = ([line[f"train/moves_{one}_encoder"] * 6 for line in training] for one in ("style", "class"))
    assert style == pytest.approx([0, 3, 5, 4]) and of_class == pytest.approx([0, 0, 1, 2])


@pytest.mark.parametrize("update", [1, 8, 12, 13, 24])  # first step to last, one at the evaluation
def test_a_stopped_run_resumes_to_the_same_bits(tmp_path, finished, monkeypatch, update):
    calls = 0
    real = disenib.main_update

    def interrupted(*arguments, **keywords):
        nonlocal calls
        calls += 1
        if calls == update:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(disenib, "main_update", interrupted)
        outcome = train(tmp_path)
    assert outcome.status == 128 + signal.SIGTERM and "--resume" in outcome.err
    assert train(tmp_path, "--resume").status == 0
    run, wanted = run_of(tmp_path, "d"), run_of(finished, "d")
    assert state_of(run.last) == state_of(wanted.last)
    for name in ("metrics.jsonl", "evaluation.json", "evaluation-step4.json"):
        assert (run.path / name).read_bytes() == (wanted.path / name).read_bytes(), name
    assert points(run.tensorboard) == points(wanted.tensorboard)


def test_three_hundred_steps_on_digits_learn_to_classify_and_to_reconstruct(tmp_path):
    outcome = train(
        tmp_path, "--steps=300", "--est_thr=100", "--n_times_main=5", "--n_times_est=1", "--enc_hidden_dims=[64]",
        "--rec_hidden_dims=[64]", "--learning_rate=1e-3", "--freq_step_log=10", "--freq_step_chkpt=300",
        "--freq_step_eval_quant=300",
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
    assert (path / "evaluation-last.json").read_bytes() == (path / "evaluation.json").read_bytes()


@pytest.mark.parametrize("flag", [
    "--est_thr=-1", "--emb_radius=0", "--n_samples=0", "--precision=fp16", "--style_std=0", "--lambda_rec=nan",
    "--steps=0", "--hfunc=pow",
])
def test_wrong_use_is_refused_in_one_line_and_leaves_no_trace(tmp_path, flag):
    assert_refused(train(tmp_path, flag), flag.split("=")[0])
    assert list(tmp_path.iterdir()) == []
