"""What users of the paper's own code, and of other projects, type: it is understood, or answered with what to do."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import assert_refused, contents, execute, run_of, train

import evaluate
import train_disenib
import train_disenib_mnist
import train_disenib_sprites
import train_lagrangian
from custom_pkg import run_folder
from custom_pkg.options import parse
from custom_pkg.training_run import resume_command


def given(script, *flags):
    return parse(script.Options, ["--desc=x", *flags])


@pytest.mark.parametrize("script, flags, same", [
    (train_lagrangian, "", "--model=vib --dataset=mnist --lambda_kl=0.01"),
    (train_lagrangian, "--gpu_ids=-1", "--device=cpu"), (train_lagrangian, "--gpu_ids -1", "--device=cpu"),
    (train_lagrangian, "--gpu_ids=0", "--device=cuda:0"),
    (train_lagrangian, "--eval_odin_temper=10", "--eval_odin_temperature=10"),
    (train_lagrangian, "--eval_odin_noise_mag 0.1", "--eval_odin_epsilon=0.1"),
    (train_disenib, "--freq_iter_log=7", "--freq_step_log=7"),
    (train_lagrangian, "--model=VIB --hfunc=Pow --dataset=MNIST", "--model=vib --hfunc=pow --dataset=mnist"),
    (train_lagrangian, "--eval_odin_out_data=Gauss,UNIFORM", "--eval_odin_out_data=gauss,uniform"),
    (train_lagrangian, "--desc=STORAGE/experiments/a/b", "--desc=a/b"),
    (train_lagrangian, "--desc=./STORAGE/experiments/a/b/", "--desc=a/b"),
    (train_lagrangian, "--resume=1 --overwrite=0", "--resume=true --overwrite=false"),
    (train_lagrangian, "--resume yes --overwrite Off", "--resume=true --overwrite=false"),
    (train_lagrangian, "--dataset=FashionMNIST", "--dataset=fashion_mnist"),
    (train_lagrangian, "--eval_odin_out_data=['gauss',Gauss]", "--eval_odin_out_data=gauss"),
    (train_lagrangian, "--desc=./a/b/", "--desc=a/b"),
    (train_lagrangian, f"--desc={Path.cwd()}/STORAGE/experiments/a/b", "--desc=a/b"),
    (evaluate, "--metrics=Accuracy,accuracy --attacks=Square,SQUARE", "--metrics=accuracy --attacks=square"),
    (evaluate, "--eval_attack_epsilons=[1e-1,.1,0.10]", "--eval_attack_epsilons=0.1"),
    (train_disenib, "--est_batch_size=0", ""), (train_disenib_mnist, "--n_times_disc=1", ""),
    (train_disenib_sprites, "--eval_dis_n_samples=8", ""),
])
def test_other_words_mean_the_same(script, flags, same):
    assert given(script, *flags.split()) == given(script, *same.split())


@pytest.mark.parametrize("trials", [0, -1])
def test_early_stopping_can_be_switched_off(tmp_path, trials):
    flags = ["--epochs=14", "--learning_rate=1e-12", "--eval_odin_out_data=[]", "--eval_attack_epsilons=[]"]
    outcome = train(tmp_path, *flags, f"--early_stop_trials={trials}")
    assert outcome.status == 0 and json.loads((run_of(tmp_path).path / "evaluation.json").read_text())["epoch"] == 14
    assert "FGSM" not in outcome.out + outcome.err  # nothing is attacked, nor is that announced


def test_the_estimator_and_the_discriminator_take_what_they_are_given(tmp_path, monkeypatch):
    from modellib import disenib

    sizes, original = [], disenib.estimator_update
    monkeypatch.setattr(disenib, "estimator_update", lambda *a, **k: sizes.append(len(a[2])) or original(*a, **k))
    flags = "--dataset=digits --desc=d --enc_hidden_dims=[8] --rec_hidden_dims=[8] --steps=2 --freq_step_log=1"
    assert execute(tmp_path, "train_disenib.py", *flags.split(), "--est_batch_size=32").status == 0
    assert set(sizes) == {32} and len(sizes) == 6


def test_the_last_words_of_a_run_say_where_it_is_and_what_can_be_done_next(tmp_path):
    outcome = train(tmp_path, "--epochs=1", "--rand_seed=3")
    *_, where, first, second = outcome.out.splitlines()
    assert str(tmp_path / "STORAGE/experiments/a/b/seed3") in where
    for command in (first, second):
        words = command.split()
        if words[0] == "python":
            assert execute(tmp_path, *words[1:], "--metrics=accuracy").status == 0
        else:
            assert (tmp_path / words[1].removeprefix("--logdir=")).is_dir()


def test_a_finished_run_shows_its_table_where_nothing_can_be_written(copy, monkeypatch):
    before = contents(copy)
    monkeypatch.setattr(run_folder.os, "access", lambda *_: False)
    outcome = train(copy, "--resume")
    assert outcome.status == 0 and "accuracy, %" in outcome.out and contents(copy) == before


def test_an_evaluation_is_shown_where_nothing_can_be_written(copy, monkeypatch):
    def refused(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("os.replace", refused)
    outcome = execute(copy, "evaluate.py", "--desc=a/b", "--metrics=accuracy")
    assert outcome.status == 1 and "accuracy, %" in outcome.out and "Read-only" in outcome.err


def test_resuming_with_another_script_says_so_in_one_line(copy):
    outcome = execute(copy, "train_disenib.py", "--dataset=digits", "--desc=a/b", "--resume")
    assert_refused(outcome, "train_lagrangian.py")
    assert len(outcome.err) < 200


def test_an_evaluation_can_take_less_memory_and_other_epsilons(copy):
    flags = ["--metrics=attack", "--split=test", "--eval_attack_epsilons=[0.05,0.050]", "--eval_batch_size=17"]
    assert execute(copy, "evaluate.py", "--desc=a/b", *flags).status == 0
    written = json.loads((run_of(copy).path / "evaluation-last.json").read_text())["test"]
    assert list(written["fgsm"]) == ["0.05"] and 0 <= written["fgsm"]["0.05"] <= 1
    assert_refused(execute(copy, "evaluate.py", "--desc=a/b", "--metrics=accuracy", flags[2]), "--eval_attack_epsilons")


def test_the_checkpoint_before_the_last_can_be_evaluated(copy):
    assert execute(copy, "evaluate.py", "--desc=a/b", "--checkpoint=previous", "--metrics=accuracy").status == 0
    assert json.loads((run_of(copy).path / "evaluation-previous.json").read_text())["epoch"] == 2


def test_the_command_to_go_on_with_has_no_word_too_much(monkeypatch):
    monkeypatch.setattr("sys.argv", "train_lagrangian.py --resume 0 --overwrite Yes --desc x --resume=no".split())
    assert resume_command() == "python train_lagrangian.py --desc x --resume"


def test_a_link_to_what_is_not_there_is_named(tmp_path):
    (tmp_path / "STORAGE").symlink_to(tmp_path / "gone")
    assert_refused(train(tmp_path), "STORAGE is a link to", "gone")


def test_the_home_folder_is_understood(tmp_path, monkeypatch, copy):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    shutil.copy(run_of(copy).last, tmp_path / "home" / "mine.pt")
    transfer = "--metrics=robustness --n_images=5 --attacks=transfer --transfer_from=~/mine.pt".split()
    assert execute(copy, "evaluate.py", "--desc=a/b", "--eval_attack_epsilons=0.1", *transfer).status == 0
    assert execute(copy, "evaluate.py", "--desc=a/b", "--checkpoint=~/mine.pt", "--metrics=accuracy").status == 0
    assert torch.load(tmp_path / "home" / "mine.pt", weights_only=True)["position"]["epoch"] == 3
    assert not (copy / "~").exists()
