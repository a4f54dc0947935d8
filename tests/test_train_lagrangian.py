import io
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import (
    REPOSITORY,
    SMALL_RUN,
    assert_refused,
    assert_same_end,
    contents,
    execute,
    points,
    results,
    run_of,
    state_of,
    subprocess_environment,
    train,
)
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train_lagrangian
from custom_pkg import checkpoints, files, run_log, training_run
from custom_pkg import options as opt
from custom_pkg.terminal import flatten
from experiments.runs import load_run
from modellib import ib_lagrangian
from modellib.evaluations import accuracy

SCRIPT = REPOSITORY / "train_lagrangian.py"
COMMANDS = """
python train_lagrangian.py --model=vib --dataset=mnist --lambda_kl=0.01 --desc=quant/mnist/vib
python train_lagrangian.py --model=nib --dataset=mnist --lambda_kl=0.01 --desc=quant/mnist/nib
python train_lagrangian.py --model=vib --hfunc=pow --dataset=mnist --lambda_kl=0.001 --desc=quant/mnist/squared-vib
python train_lagrangian.py --model=nib --hfunc=pow --dataset=mnist --lambda_kl=0.001 --desc=quant/mnist/squared-nib
""".strip().split("\n")


def logged(cwd, desc="a/b") -> list[dict]:
    return [json.loads(line) for line in (run_of(cwd, desc).path / "metrics.jsonl").read_text().splitlines()]


def epochs_of(cwd) -> list[dict]:
    return [line for line in logged(cwd) if "train/loss" in line]


def run_cut_short_by(monkeypatch, cwd, module, function, at, action, *flags):
    """The small run, in which the `at`-th call of a function is preceded by an action."""
    calls, original = iter(range(1, at + 1)), getattr(module, function)

    def with_action(*arguments, **keywords):
        if next(calls, None) == at:
            action()
        return original(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(module, function, with_action)
        return train(cwd, *flags)


# What a run leaves


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_paper_run_to_their_end_and_leave_what_is_promised(tmp_path, command):
    _, script, *flags = shlex.split(command)
    outcome = execute(tmp_path, script, *flags, "--dataset=digits", "--epochs=1", "--enc_hidden_dims=[16]")
    assert outcome.status == 0, outcome.err
    desc = flags[-1].removeprefix("--desc=")
    run = run_of(tmp_path, desc)
    files_left = contents(run.path).keys()
    assert {"config.json", "train.log", "metrics.jsonl", "evaluation.json"} <= files_left
    assert {"checkpoints/last.pt", "checkpoints/best.pt"} <= files_left
    evaluation = json.loads((run.path / "evaluation.json").read_text())
    keys = {"accuracy", "accuracy_mean_code", "mi_xt", "mi_xt_stderr", "mi_yt", "mi_yt_lower_bound", "fgsm"}
    assert (evaluation["epoch"], evaluation["step"]) == (1, 13)
    for split in ("train", "test"):
        assert keys <= evaluation[split].keys() and evaluation[split]["fgsm"].keys() == {"0.1", "0.2", "0.3"}
    assert {"fpr_at_95_tpr", "auroc", "aupr_in", "aupr_out", "detection_error"} <= evaluation["ood"]["gauss"].keys()
    assert all(map(math.isfinite, flatten(evaluation).values()))
    tags = {name for name, _, _ in points(run.tensorboard)}
    assert {"train/loss_dec", "train/loss_kl", "eval/train/accuracy", "eval/test/accuracy"} <= tags


REFERENCES = {"plain": "--model=plain", "pgd-trained": "--model=plain --train_attack=pgd"}


@pytest.mark.parametrize("name", REFERENCES)
def test_references_without_noise_are_evaluated_by_every_metric(tmp_path, name):
    flags = [*REFERENCES[name].split(), "--dataset=digits", "--enc_hidden_dims=[16]", "--desc=a/b"]
    outcome = execute(tmp_path, "train_lagrangian.py", *flags, "--epochs=2")
    assert outcome.status == 0, outcome.err
    evaluation = json.loads((run_of(tmp_path).path / "evaluation.json").read_text())
    assert evaluation["test"]["mi_xt_deterministic"] == pytest.approx(math.log(450))
    assert not any(key in evaluation["test"] for key in ("mi_xt", "mi_xt_stderr", "mi_xt_mean_code"))
    assert evaluation["test"]["accuracy"] == evaluation["test"]["accuracy_mean_code"]
    assert {line["train/loss_kl"] for line in epochs_of(tmp_path)} == {0.0}
    again = execute(tmp_path, "evaluate.py", "--desc=a/b")
    assert again.status == 0, again.err
    assert results(run_of(tmp_path).path / "evaluation-last.json") == {
        name: value for name, value in evaluation.items() if name != "ood_curves"
    }


def test_ceb_trains_evaluates_and_is_restored_with_its_third_network(tmp_path):
    flags = "--model=ceb --lambda_kl=0.1 --dataset=digits --enc_hidden_dims=[16] --desc=a/b --epochs=3".split()
    outcome = execute(tmp_path, "train_lagrangian.py", *flags)
    assert outcome.status == 0, outcome.err
    saved = checkpoints.load_run(run_of(tmp_path).last)["state"]["class_marginal"]
    assert {name: tuple(tensor.shape) for name, tensor in saved.items()} == {"mean": (10, 16), "log_std": (10, 16)}
    assert all(tensor.any() for tensor in saved.values())  # it has been trained
    evaluation = json.loads((run_of(tmp_path).path / "evaluation.json").read_text())
    assert execute(tmp_path, "evaluate.py", "--desc=a/b", "--split=test").status == 0
    again = json.loads((run_of(tmp_path).path / "evaluation-last.json").read_text())
    assert again["test"] == evaluation["test"] and "mi_xt" in again["test"]


def test_a_power_of_a_rate_that_can_be_negative_is_refused(tmp_path):
    outcome = execute(tmp_path, "train_lagrangian.py", "--model=ceb", "--hfunc=pow", "--desc=a/b")
    assert_refused(outcome, "--hfunc=pow", "ceb")
    outcome = execute(tmp_path, "reproduce.py", "--sweep=lambda_kl:0.1", "--model=ceb", "--hfunc=pow", "--list")
    assert_refused(outcome, "--hfunc=pow", "ceb")
    assert list(tmp_path.iterdir()) == []
    assert opt.parse(train_lagrangian.Options, ["--model=ceb", "--vib_softplus_scalar=5", "--desc=a"])  # VIB's encoder


def test_a_bare_command_runs_vib(tmp_path):
    execute(tmp_path, "train_lagrangian.py", "--desc=bare", "--dataset=digits", "--epochs=1", "--enc_hidden_dims=[16]")
    options = json.loads((run_of(tmp_path, "bare").path / "config.json").read_text())["options"]
    assert (options["model"], options["lambda_kl"], options["hfunc"]) == ("vib", 0.01, "none")


def test_tensorboard_shows_what_metrics_jsonl_holds_and_the_options(finished):
    expected = [
        # TensorBoard keeps 32 bits, and has the final figures behind "train/"
        (name.replace("final/", "trained/"), line["step"], pytest.approx(value, rel=1e-6))
        for line in logged(finished) for name, value in line.items()
        if name not in ("epoch", "step") and name.count("/") <= 3
    ]
    assert points(run_of(finished).tensorboard) == sorted(expected, key=lambda point: point[:2])
    reader = EventAccumulator(str(run_of(finished).tensorboard)).Reload()
    [text] = reader.Tensors("options/text_summary")
    for flag in SMALL_RUN[:2]:
        assert flag.encode() in text.tensor_proto.string_val[0]


def test_tensorboard_has_the_information_plane_and_the_stds_of_the_test_set(finished):
    reader = EventAccumulator(str(run_of(finished).tensorboard)).Reload()
    [picture], [stds] = reader.Images("pictures/information-plane"), reader.Histograms("codes/std")
    assert (picture.step, stds.step) == (39, 39)
    pixels = np.asarray(Image.open(io.BytesIO(picture.encoded_image_string)))
    evaluation = json.loads((run_of(finished).path / "evaluation.json").read_text())
    for split, colour in (("train", (0, 114, 178)), ("test", (213, 94, 0))):  # the mark of each, right of its legend
        found = evaluation[split]
        x = 56 + 400 * found["mi_xt"] / evaluation["train"]["mi_xt_ceiling"]
        y = 24 + 300 * (1 - found["mi_yt"] / evaluation["train"]["mi_yt_ceiling"])
        assert tuple(pixels[round(y), round(x)]) == colour
    run = load_run(run_of(finished).path)
    images, _ = run.data.sets["test"]
    _, std = run.model.encoder(images)
    assert stds.histogram_value.num == std.numel()
    assert stds.histogram_value.sum / stds.histogram_value.num == pytest.approx(std.mean().item(), rel=1e-5)


def test_the_final_metrics_are_logged_too(finished):
    evaluation = json.loads((run_of(finished).path / "evaluation.json").read_text())
    final = {f"final/{name}": value for name, value in flatten(evaluation).items() if name not in ("epoch", "step")}
    assert logged(finished)[-1] == {"epoch": 3, "step": 39, **final}


def test_config_json_tells_what_the_run_was(finished):
    config = json.loads((run_of(finished).path / "config.json").read_text())
    assert config["command"] == shlex.join(["python", SCRIPT.name, *SMALL_RUN])
    assert (config["options"]["model"], config["options"]["enc_hidden_dims"]) == ("vib", [16])
    assert (config["data"]["name"], config["data"]["n_train"], config["data"]["n_test"]) == ("digits", 1347, 450)
    assert {"python", "torch", "numpy"} <= config["versions"].keys()


def test_the_code_of_a_run_is_its_commit_and_dirty_when_a_py_file_was_changed(tmp_path, monkeypatch):
    def git(*words: str) -> str:
        as_somebody = ["-c", "user.name=n", "-c", "user.email=e"]
        return subprocess.run(["git", "-C", str(tmp_path), *as_somebody, *words], capture_output=True, check=True,
                              encoding="utf-8").stdout.strip()

    code, table = tmp_path / "package" / "code.py", tmp_path / "table.md"
    code.parent.mkdir()
    monkeypatch.setattr(training_run, "__file__", str(code))
    assert training_run._code_version() == "unknown"
    for file in (code, table):
        file.write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    commit = git("rev-parse", "--short=12", "HEAD")
    assert training_run._code_version() == commit
    table.write_text("2")
    (tmp_path / "mine.py").write_text("my own")
    assert training_run._code_version() == commit
    code.write_text("2")
    assert training_run._code_version() == f"{commit}-dirty"


def test_the_same_command_gives_the_same_bits_in_another_process(finished, tmp_path):
    command = [sys.executable, str(SCRIPT), *SMALL_RUN]
    subprocess.run(command, cwd=tmp_path, env=subprocess_environment(), check=True, capture_output=True)
    assert_same_end(tmp_path, finished)


def test_another_seed_gives_other_weights_beside_the_first_run(copy):
    before = contents(run_of(copy).path)
    assert train(copy, "--rand_seed=1").status == 0
    assert contents(run_of(copy).path) == before
    other = run_of(copy).path.with_name("seed1") / "checkpoints" / "last.pt"
    assert state_of(other)["encoder"] != state_of(run_of(copy).last)["encoder"]


def test_training_stops_early_keeps_the_best_epoch_and_follows_the_schedule(tmp_path):
    assert train(tmp_path, "--epochs=40", "--early_stop_trials=2", "--learning_rate=0.03").status == 0
    epochs = epochs_of(tmp_path)
    accuracies = [line["eval/test/accuracy"] for line in epochs]
    best = accuracies.index(max(accuracies))  # the first of equals: an equal accuracy is no improvement
    assert len(accuracies) == best + 1 + 2 < 40
    assert all(max(accuracies[: n + 1]) > max(accuracies[: n - 1]) for n in range(2, len(accuracies) - 1))
    assert checkpoints.load(run_of(tmp_path).best)["state"]["progress"]["epoch"] == best + 1
    assert checkpoints.load(run_of(tmp_path).last)["state"]["progress"]["epoch"] == len(epochs)
    rates = [line["train/learning_rate"] for line in epochs]
    assert rates == pytest.approx([0.03 * 0.97 ** (n // 2) for n in range(len(epochs))], rel=1e-12)


def test_an_accuracy_as_good_as_the_best_is_no_improvement(tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy, "accuracy", lambda *_, **__: {"accuracy": 0.5})
    assert train(tmp_path, "--epochs=40", "--early_stop_trials=2").status == 0
    assert len(epochs_of(tmp_path)) == 3
    assert checkpoints.load(run_of(tmp_path).best)["state"]["progress"]["epoch"] == 1


# Killed, stopped, resumed

KILLER = """
import json, os, signal, sys
from importlib import import_module
from conftest import train
import train_lagrangian, dataloader.digits  # once, before the processes part

for cwd, module, function, at in json.loads(sys.argv[1]):
    child = os.fork()
    if child == 0:
        module, calls = import_module(module), iter(range(1, at + 1))
        original = getattr(module, function)

        def killing(*arguments, **keywords):
            if next(calls, None) == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **keywords)

        setattr(module, function, killing)
        train(cwd)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (function, status)
"""
MOMENTS = {  # the call before which the process is killed, without a chance to tidy up
    "before config.json": ("custom_pkg.training_run", "write_json", 1),
    "before the first checkpoint": ("custom_pkg.checkpoints", "save", 1),
    "in the middle of an epoch": ("modellib.ib_lagrangian", "update", 20),
    "between the log and the checkpoint": ("custom_pkg.checkpoints", "save", 3),
    "before the new checkpoint gets its name": ("os", "replace", 5),
    "between the best and the last checkpoint": ("custom_pkg.training_run", "link_atomically", 3),
    "before the evaluation": ("experiments.quantitative", "evaluate", 1),
    "in the middle of the evaluation": ("modellib.evaluations.protocol", "fgsm", 2),
    "before evaluation.json": ("custom_pkg.training_run", "write_json", 3),
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Moment -> the working directory of a small run killed (SIGKILL) at that moment."""
    places = {moment: tmp_path_factory.mktemp("killed") for moment in MOMENTS}
    plan = json.dumps([[str(cwd), *MOMENTS[moment]] for moment, cwd in places.items()])
    subprocess.run([sys.executable, "-c", KILLER, plan], env=subprocess_environment(), check=True, capture_output=True)
    return places


@pytest.mark.parametrize("moment", list(MOMENTS)[1:])
def test_a_killed_run_resumes_to_the_same_bits(killed, finished, moment):
    outcome = train(killed[moment], "--resume")
    assert outcome.status == 0, outcome.err
    assert_same_end(killed[moment], finished)


def test_a_run_killed_before_it_began_is_simply_started_again(killed, finished):
    cwd = killed["before config.json"]
    assert_refused(train(cwd, "--resume"), "nothing to resume", "leave --resume out")
    assert train(cwd).status == 0
    assert_same_end(cwd, finished)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
@pytest.mark.parametrize("update", [20, 26])  # in the middle of an epoch, and its last one
def test_a_signal_ends_the_update_saves_and_says_how_to_go_on(tmp_path, finished, monkeypatch, signum, update):
    def send():
        os.kill(os.getpid(), signum)

    stopped = run_cut_short_by(monkeypatch, tmp_path, ib_lagrangian, "update", update, send)
    assert stopped.status == 128 + signum
    assert f" {update}, all saved" in stopped.err
    assert stopped.err.endswith(f"  python {SCRIPT} {shlex.join(SMALL_RUN)} --resume\n")
    assert state_of(run_of(tmp_path).last)["progress"]["step"] == update
    assert train(tmp_path, "--resume").status == 0
    assert_same_end(tmp_path, finished)


def test_a_signal_during_the_evaluation_loses_no_training(tmp_path, finished, monkeypatch):
    from experiments import quantitative

    outcome = run_cut_short_by(
        monkeypatch, tmp_path, quantitative, "evaluate", 1, lambda: os.kill(os.getpid(), signal.SIGTERM)
    )
    assert outcome.status == 128 + signal.SIGTERM
    assert "evaluation was stopped" in outcome.err and "--resume" in outcome.err
    assert train(tmp_path, "--resume").status == 0
    assert_same_end(tmp_path, finished)


@pytest.mark.parametrize("flags", ["--overwrite", "--overwrite=true", "--overwrite true", "--resume=false"])
def test_the_command_to_go_on_is_one_that_goes_on(tmp_path, finished, monkeypatch, flags):
    outcome = run_cut_short_by(
        monkeypatch, tmp_path, ib_lagrangian, "update", 5, lambda: os.kill(os.getpid(), signal.SIGTERM),
        *flags.split(),
    )
    _, script, *argv = shlex.split(outcome.err.rstrip("\n").split("\n")[-1])
    assert execute(tmp_path, script, *argv).status == 0
    assert epochs_of(tmp_path) == epochs_of(finished)
    assert "from step 5 on" in (run_of(tmp_path).path / "train.log").read_text()


def test_resuming_a_finished_run_shows_its_table_and_changes_nothing(copy):
    run = run_of(copy)
    before, points_before = contents(run.path), points(run.tensorboard)
    outcome = train(copy, "--resume")
    after = contents(run.path)
    assert outcome.status == 0 and "I(X;T)" in outcome.out and "epoch   1" not in outcome.out
    assert [name for name in before if name != "train.log" and after[name] != before[name]] == []
    assert points(run.tensorboard) == points_before


def test_resuming_after_the_evaluation_was_deleted_only_evaluates(copy, finished, monkeypatch):
    (run_of(copy).path / "evaluation.json").unlink()
    monkeypatch.setattr(ib_lagrangian, "update", lambda *_, **__: pytest.fail("a training update"))
    assert train(copy, "--resume").status == 0
    assert_same_end(copy, finished)


def test_a_run_that_goes_on_elsewhere_records_and_says_it(copy):
    path = run_of(copy).path
    config = json.loads((path / "config.json").read_text())
    here = config["machine"]["threads"]
    (path / "config.json").write_text(json.dumps({**config, "machine": {**config["machine"], "threads": 63}}))
    for _ in range(2):
        (path / "evaluation.json").unlink()
        assert train(copy, "--resume").status == 0
    log = (path / "train.log").read_text()
    assert log.count("bits may differ from here on") == log.count(f"was made with threads 63, now {here}") == 1
    sessions = json.loads((path / "config.json").read_text())["sessions"]
    assert [session["machine"] for session in sessions] == [config["machine"]] * 2
    assert sessions[0]["from"] == {name: logged(copy)[-1][name] for name in ("epoch", "step")}


def test_a_finished_run_that_goes_on_for_longer_ends_like_one_that_was_so_long_from_the_start(tmp_path, finished):
    assert train(tmp_path, "--epochs=2").status == 0
    run, wanted = run_of(tmp_path), run_of(finished)
    execute(tmp_path, "evaluate.py", "--desc=a/b", "--metrics=accuracy")  # evaluation-last.json
    before = contents(run.path)
    outcome = train(tmp_path, "--resume")  # three epochs
    assert outcome.status == 0 and "--epochs was 2, now 3" in outcome.out
    for name in ("last.pt", "best.pt"):
        assert state_of(run.path / "checkpoints" / name) == state_of(wanted.path / "checkpoints" / name)
    for name in ("metrics.jsonl", "evaluation.json"):
        assert (run.path / name).read_bytes() == (wanted.path / name).read_bytes(), name
    assert points(run.tensorboard) == points(wanted.tensorboard)
    aside = {name for name in contents(run.path) if name.startswith("until-step26/")}
    names = ("evaluation.json", "evaluation-last.json", "detection-curves.json", "times.json")
    assert aside == {f"until-step26/{name}" for name in names}
    assert all((run.path / "until-step26" / name).read_bytes() == before[name] for name in names)
    assert contents(run.path).keys() - aside == contents(wanted.path).keys()  # no evaluation-last.json
    config = json.loads((run.path / "config.json").read_text())
    assert config["options"]["epochs"] == 3 and config["sessions"][0]["longer"] == {"epochs": [2, 3]}
    for flags in (["--resume"], ["--resume", "--epochs=2"]):
        assert train(tmp_path, *flags).status == (2 if "--epochs=2" in flags else 0)
    assert execute(tmp_path, "evaluate.py", "--desc=a/b", "--checkpoint=best", "--metrics=accuracy").status == 0


@pytest.mark.parametrize("module, function, call", [  # in the order in which they come
    (Path, "replace", 2), (run_log, "cut", 1), (training_run, "write_json", 1), (ib_lagrangian, "update", 3),
])
def test_a_run_killed_while_it_becomes_longer_is_not_taken_for_finished(
    tmp_path, finished, monkeypatch, module, function, call
):
    class Killed(BaseException):
        pass

    def kill():
        raise Killed

    assert train(tmp_path, "--epochs=2").status == 0
    with pytest.raises(Killed):
        run_cut_short_by(monkeypatch, tmp_path, module, function, call, kill, "--resume")
    run = run_of(tmp_path)
    assert not (run.path / "evaluation.json").exists()
    assert train(tmp_path, "--resume").status == 0
    for name in ("metrics.jsonl", "evaluation.json"):
        assert (run.path / name).read_bytes() == (run_of(finished).path / name).read_bytes(), name
    assert state_of(run.last) == state_of(run_of(finished).last)


def test_a_run_that_early_stopping_ended_has_nothing_to_add(tmp_path):
    stopping = "--learning_rate=1e-9", "--early_stop_trials=1"
    assert train(tmp_path, *stopping).status == 0
    before = contents(tmp_path)
    assert logged(tmp_path)[-1]["epoch"] < 3
    assert_refused(train(tmp_path, *stopping, "--resume", "--epochs=9"), "early stopping", "--epochs was 3, now 9")
    assert contents(tmp_path) == before
    assert train(tmp_path, *stopping, "--resume").status == 0


def test_a_run_of_another_kind_of_device_moves_only_when_asked_to_and_records_it(copy, finished):
    """As if it had been trained on a GPU until its second epoch: what a checkpoint of one holds, without a GPU."""
    run = run_of(copy)
    (run.path / "evaluation.json").unlink()
    saved = checkpoints.load_run(run.previous)
    saved["device"] = "cuda"
    saved["state"]["generators"]["noise"] = torch.zeros(16, dtype=torch.uint8)
    saved["state"]["generators"]["global"]["device"] = torch.zeros(16, dtype=torch.uint8)
    saved["state"]["optimizer"]["param_groups"][0]["capturable"] = True
    checkpoints.save(run.last, saved)
    shutil.copytree(copy, copy.with_name("again"))
    assert_refused(train(copy, "--resume"), "trained on cuda", "--device=cuda", "--device=cpu")
    for cwd in (copy, copy.with_name("again")):
        outcome = train(cwd, "--resume", "--device=cpu")
        assert outcome.status == 0 and "warning: trained on cuda until here and on cpu from here on" in outcome.out
    sessions = json.loads((run.path / "config.json").read_text())["sessions"]
    assert sessions[-1]["moved"] == ["cuda", "cpu"] and sessions[-1]["from"] == {"epoch": 2, "step": 26}
    assert_same_end(copy.with_name("again"), copy)  # the same bits from the same checkpoint
    assert logged(copy)[:2] == logged(finished)[:2] and logged(copy)[2:] != logged(finished)[2:]
    (run.path / "evaluation.json").unlink()
    assert train(copy, "--resume").status == 0  # now it is one of a CPU
    assert len(json.loads((run.path / "config.json").read_text())["sessions"][-1]) == len(sessions[-1]) - 1


def test_a_run_that_lost_its_checkpoint_is_not_trained_from_scratch_over_its_logs(copy, finished):
    run = run_of(copy)
    run.last.unlink()
    run.previous.unlink()
    (run.path / "evaluation.json").unlink()  # with it, the run is finished
    before = contents(copy)
    assert_refused(train(copy, "--resume"), "last.pt", "--overwrite")
    assert contents(copy) == before
    assert train(copy, "--overwrite").status == 0
    assert_same_end(copy, finished)


def test_overwriting_that_is_killed_leaves_no_evaluation_to_be_taken_for_the_new_run_s(copy, monkeypatch):
    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    assert train(copy, "--overwrite").status == 130
    run = run_of(copy)
    assert list(run.path.glob("evaluation*")) == [] and (run.path / "config.json").exists()


# Runs that exist


def test_overwriting_leaves_nothing_of_the_old_run(copy, tmp_path):
    (run_of(copy).path / "evaluation-last.json").write_text("{}")
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    assert train(fresh, "--epochs=1").status == train(copy, "--epochs=1", "--overwrite").status == 0
    assert_same_end(copy, fresh)


def test_a_run_that_exists_is_not_touched_without_a_word(copy):
    before = contents(copy)
    assert_refused(train(copy), "a/b/seed0", "--resume", "--overwrite", "--desc", "--rand_seed")
    assert contents(copy) == before


def test_a_run_whose_config_is_lost_is_not_touched_either(copy):
    (run_of(copy).path / "config.json").unlink()
    before = contents(copy)
    assert_refused(train(copy), "a/b/seed0", "--overwrite")
    assert contents(copy) == before


def test_a_run_that_came_to_be_in_the_meantime_is_not_touched_either(tmp_path, monkeypatch):
    import dataloader.digits

    def other_process():
        assert train(tmp_path).status == 0

    outcome = run_cut_short_by(monkeypatch, tmp_path, dataloader.digits, "load", 1, other_process, "--epochs=1")
    assert_refused(outcome, "a/b/seed0", "--resume", "--overwrite")
    assert len(epochs_of(tmp_path)) == 3


def test_a_run_in_progress_is_guarded_and_ends_cleanly_on_sigterm(tmp_path):
    long_run = [*SMALL_RUN, "--epochs=100000", "--early_stop_trials=100000"]
    command = [sys.executable, str(SCRIPT), *long_run]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env=subprocess_environment(), **pipes) as first:
        while not (line := first.stdout.readline()).startswith("epoch   2"):
            assert line, first.stderr.read()
        for flag in ("--overwrite", "--resume"):
            second = train(tmp_path, *long_run[-2:], flag)
            assert_refused(second, f"process {first.pid} ")
        first.send_signal(signal.SIGTERM)
        _, err = first.communicate()
    assert first.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in err and "--resume" in err
    assert checkpoints.load(run_of(tmp_path).last)["state"]["progress"]["epoch"] >= 2


# Losses that are not finite


@pytest.mark.parametrize("flags, term, update", [
    (["--hfunc=exp", "--hfunc_param=1000"], "loss ", 1),  # h(KL) overflows, cross entropy and KL do not
    (["--vib_softplus_scalar=1e30"], "loss_kl ", 1),  # the std is 0: its KL is infinite, the cross entropy is not
])
def test_a_loss_that_is_not_finite_stops_the_run_by_name(tmp_path, flags, term, update):
    outcome = train(tmp_path, *flags)
    assert outcome.status == 1 and outcome.err.count("\n") == 1
    assert f"{term}became" in outcome.err and f"update {update}:" in outcome.err
    path = re.search(r"STORAGE\S+\.pt", outcome.err)[0]
    assert checkpoints.load(tmp_path / path)["state"]["progress"]["step"] == 0


def test_a_divergence_keeps_the_last_good_checkpoint(tmp_path):
    outcome = train(tmp_path, "--learning_rate=1e30")
    assert outcome.status == 1 and "update 2:" in outcome.err
    assert checkpoints.load(run_of(tmp_path).last)["state"]["progress"]["step"] == 0


@pytest.mark.parametrize("module", [files, checkpoints])  # config.json, the first checkpoint
def test_a_disk_that_is_full_is_named_in_one_line(tmp_path, monkeypatch, module):
    def full():
        raise OSError(28, "No space left on device")

    outcome = run_cut_short_by(monkeypatch, tmp_path, module, "write_atomically", 1, full)
    assert outcome.status == 1 and outcome.err.count("\n") == 1 and "No space left on device" in outcome.err


# Wrong use


def test_wrong_use_of_the_real_command_line(tmp_path):
    command = [sys.executable, str(SCRIPT), *SMALL_RUN, "--epochs=zero"]
    ended = subprocess.run(command, cwd=tmp_path, env=subprocess_environment(), capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "train_lagrangian.py: --epochs=zero: an integer expected\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", [
    "STORAGE", "STORAGE/experiments", "STORAGE/experiments/a/b/seed0", "STORAGE/tensorboard/a",
    "STORAGE/experiments/a/b/seed0/checkpoints",
])
def test_a_file_where_a_folder_should_be_is_named(tmp_path, place):
    file = tmp_path / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    assert_refused(train(tmp_path), place)
    assert file.read_text() == "mine"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"options": []}'])
def test_a_damaged_config_is_named(copy, content):
    (run_of(copy).path / "config.json").write_text(content)
    assert_refused(train(copy, "--resume"), "config.json")


def test_damaged_checkpoints_are_named_and_nothing_is_lost(copy):
    for checkpoint in (run_of(copy).last, run_of(copy).previous):
        checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    (run_of(copy).path / "evaluation.json").unlink()
    before = contents(copy)
    assert_refused(train(copy, "--resume"), "last.pt", "previous.pt", "--overwrite")
    assert contents(copy) == before


def test_checkpoints_of_another_run_are_named(copy):
    assert train(copy, "--desc=c", "--enc_hidden_dims=[8]", "--epochs=1").status == 0
    for checkpoint in (run_of(copy).last, run_of(copy).previous):
        shutil.copy(run_of(copy, "c").last, checkpoint)
    (run_of(copy).path / "evaluation.json").unlink()
    assert_refused(train(copy, "--resume"), "last.pt", "another run")
