"""reproduce.py: its commands are the published ones, and its runs are started, skipped, resumed and stopped."""

import fcntl
import importlib
import json
import os
import signal
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import execute

import evaluate
import reproduce
from custom_pkg import compute
from custom_pkg import options as opt
from custom_pkg.errors import StopRequest, UserError
from custom_pkg.options import from_dict
from custom_pkg.terminal import no_print_may_fail
from experiments.catalogue import METHODS
from experiments.registry import EXPERIMENTS
from reporting import grid, runner, task
from reporting.collect import Place
from reporting.plan import alike, plan

PUBLISHED = """
python train_lagrangian.py --model=vib --dataset=mnist --lambda_kl=0.01 --desc=quant/mnist/vib
python train_lagrangian.py --model=nib --dataset=mnist --lambda_kl=0.01 --desc=quant/mnist/nib
python train_lagrangian.py --model=vib --hfunc=pow --dataset=mnist --lambda_kl=0.001 --desc=quant/mnist/squared-vib
python train_lagrangian.py --model=nib --hfunc=pow --dataset=mnist --lambda_kl=0.001 --desc=quant/mnist/squared-nib
python train_disenib.py --dataset=mnist --desc=quant/mnist/disenib
python train_disenib_mnist.py --desc=disentangling/mnist/disenib
python train_disenib_shapes.py --desc=disentangling/shapes/disenib
python train_disenib_sprites.py --desc=disentangling/sprites/disenib
""".strip().splitlines()


def commands(runs) -> list[str]:
    return [" ".join(run.command()) for run in runs]


def test_the_commands_are_the_published_ones_word_for_word():
    assert commands(grid.published_grid((), (0,), "mnist")) == PUBLISHED


def test_references_run_only_when_they_are_named():
    references = {name for name, method in METHODS.items() if method.reference}
    assert {"plain", "pgd-trained"} <= references and not any(METHODS[name].published for name in references)
    assert commands(grid.published_grid(("pgd-trained", "plain"), (0,), "mnist")) == [
        "python train_lagrangian.py --model=plain --dataset=mnist --desc=quant/mnist/plain",
        "python train_lagrangian.py --model=plain --train_attack=pgd --dataset=mnist --desc=quant/mnist/pgd-trained",
    ]


@pytest.mark.parametrize("name", METHODS)
def test_the_code_that_the_tables_look_at_is_the_one_that_the_model_is_evaluated_with(name):
    [run] = grid.published_grid((name,), (0,), "digits")
    options = from_dict(importlib.import_module(METHODS[name].script).Options, run.options())
    model, _ = EXPERIMENTS[METHODS[name].script].build({"image_shape": [1, 2, 2], "n_classes": 2}, options)
    assert model.code == METHODS[name].code


def test_attacks_are_measured_once_on_every_run_of_the_comparison_and_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = grid.published_grid(("vib", "disenib", "plain", "disentangling-mnist"), (1,), "mnist", "bf16")
    runs = [replace(run, extra=(*run.extra, "--device=cpu")) for run in runs]
    checkpoint = runs[[run.name for run in runs].index("plain")].folder.last_checkpoint
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    plain, vib, vib_mean, disenib_sample, disenib = grid.attacked(runs)
    evaluation = "python evaluate.py --desc=quant/mnist/{} --rand_seed=1 --metrics=robustness --code={}"
    source = f"--transfer_from={checkpoint}"
    assert commands([plain, vib, vib_mean, disenib_sample, disenib]) == [
        f"{evaluation.format('plain', 'mean')} --device=cpu",
        *(f"{evaluation.format(*which)} {source} --device=cpu"
          for which in (("vib", "sample"), ("vib", "mean"), ("disenib", "sample"), ("disenib", "mean"))),
    ]
    for words in ([*vib.command()[2:]], [*disenib.command()[2:]]):
        assert opt.parse(evaluate.Options, words).metrics == ("robustness",)
    vib.folder.path.mkdir(parents=True)
    stepwise = dict.fromkeys(("fgsm_margin", "apgd_cross_entropy", "pgd_margin"), {})
    of = {"n_images": 1000, "by_attack": stepwise, "on_standing": {"square": {}}}
    without_one_step = {name: {} for name in stepwise if name != "fgsm_margin"}
    for less in ({"n_images": 999}, {"on_standing": {}}, {"by_attack": without_one_step}, {}):
        (vib.folder.path / "evaluation-last.json").write_text(json.dumps({"robustness": of | less}))
        assert vib.finished() == (not less)
    (vib.folder.path / "evaluation-last-mean-code.json").write_text('{"ood": {}}')
    assert vib.finished() and not vib_mean.finished() and not disenib.finished()
    assert (runner.state(vib), runner.state(disenib)) == ("finished", "absent")


def test_the_objections_are_asked_of_every_run_with_the_metrics_and_codes_that_it_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = grid.published_grid(("vib", "disenib", "plain", "disentangling-shapes", "held-out"), (0,), "mnist")
    runs = [run for run in runs if not run.desc.startswith("held-out/") or run.name == "nib"]
    ablation = grid.published_grid(("ablations",), (0,), "mnist")[-1]
    found = grid.objections([*runs, ablation])
    asked = "--metrics=detection,information,calibration --split=test --eval_odin_out_data=gauss,uniform"
    assert commands(found) == [f"python evaluate.py --desc={words}" for words in (
        *(f"quant/mnist/vib {asked},fashion_mnist --code={code}" for code in ("sample", "mean")),
        *(f"quant/mnist/disenib {asked},fashion_mnist --code={code}" for code in ("sample", "mean")),
        "quant/mnist/disenib --metrics=probes --split=test",
        f"quant/mnist/plain {asked},fashion_mnist --code=mean",
        "disentangling/shapes/disenib --metrics=swaps,probes",
        *(f"held-out/mnist/nib {asked},fashion_mnist --code={code}" for code in ("sample", "mean")),
        "ablations/mnist/n-times-est-10 --metrics=probes --split=test",
    )]
    for run in found:
        opt.parse(evaluate.Options, run.command()[2:])
    vib = found[0]
    vib.folder.path.mkdir(parents=True)
    for outside, finished in (("gauss", False), ("fashion_mnist", True)):
        content = {"ood": {outside: {"fpr_at_95_tpr_by": {"energy": 0.5}}}}
        (vib.folder.path / "evaluation-last.json").write_text(json.dumps(content))
        assert vib.finished() == finished and not found[1].finished()


def test_held_out_runs_and_ablations_are_made_when_they_are_named():
    held_out = commands(grid.published_grid(("held-out",), (2,), "mnist"))
    assert len(held_out) == 6 and held_out[0] == (
        "python train_lagrangian.py --model=vib --dataset=mnist --lambda_kl=0.01 --held_out_classes=8,9 "
        "--desc=held-out/mnist/vib --rand_seed=2"
    )
    ablations = grid.published_grid(("ablations",), (0,), "mnist", "bf16")
    settings = {run.name: run.options() for run in ablations}
    default = settings.pop("default")
    assert default["steps"] == 5000 and len(settings) == 9 and default["precision"] == "bf16"
    changed = {name: {key: value for key, value in options.items() if value != default[key] and key != "desc"}
               for name, options in settings.items()}
    assert changed == {
        "lambda-est-0": {"lambda_est": 0}, "lambda-est-0.1": {"lambda_est": 0.1}, "lambda-est-2": {"lambda_est": 2},
        "no-clustering": {"cluster": False}, "no-spectral-norm": {"spectral_norm": False},
        "class-std-0.3": {"class_std": 0.3}, "class-std-3": {"class_std": 3}, "n-times-est-1": {"n_times_est": 1},
        "n-times-est-10": {"n_times_est": 10},
    }
    for run in (ablations[-1], *grid.published_grid(("held-out",), (0,), "mnist")):
        small = grid.quick(run).command()
        assert f"--desc=quick/{run.desc.replace('mnist', 'digits')}" in small and "--dataset=digits" in small
        assert len({word.split("=")[0] for word in small}) == len(small)


def test_seeds_data_sets_and_precision_are_flags_of_the_same_commands():
    both = commands(grid.published_grid(("disenib", "vib"), (0, 3), "mnist", "bf16"))
    assert both == [PUBLISHED[0], f"{PUBLISHED[4]} --precision=bf16", f"{PUBLISHED[0]} --rand_seed=3",
                    f"{PUBLISHED[4]} --rand_seed=3 --precision=bf16"]
    fashion = commands(grid.published_grid((), (0,), "fashion_mnist"))
    assert fashion == [command.replace("mnist", "fashion_mnist") for command in PUBLISHED[:5]]
    [run] = grid.published_grid(("nib",), (0,), "mnist")
    assert " ".join(run.command(resume=True)) == f"{PUBLISHED[1]} --resume"


def test_a_sweep_is_spaced_evenly_in_the_logarithm():
    runs = grid.sweep_grid(*grid.sweep_values("lambda_kl:1e-5..1e-1:9"), (0,), "mnist", "vib", "pow")
    assert [run.flags[-1].split("=")[1] for run in runs][::2] == ["1e-05", "0.0001", "0.001", "0.01", "0.1"]
    assert " ".join(runs[4].command()) == (
        "python train_lagrangian.py --model=vib --hfunc=pow --dataset=mnist --lambda_kl=0.001 "
        "--desc=sweep/mnist/vib-pow/lambda_kl=0.001"
    )


@pytest.mark.parametrize("text, n, flags, name", [
    ("lambda_kl:0.003,0.01,0.003", 2, "--lambda_kl=0.01", "lambda_kl=0.01"),
    ("learning_rate:1e-4..1e-2:5", 5, "--lambda_kl=0.01 --learning_rate=0.01", "learning_rate=0.01"),
    ("emb_dim:4..64:3", 3, "--lambda_kl=0.01 --emb_dim=64", "emb_dim=64"),
    ("lambda_kl:0.0012345,0.0012346", 2, "--lambda_kl=0.0012346", "lambda_kl=0.0012346"),
    ("batch_size:50,1000", 2, "--lambda_kl=0.01 --batch_size=1000", "batch_size=1000"),
    ("nib_log_std:-1,0", 2, "--lambda_kl=0.01 --nib_log_std=0", "nib_log_std=0"),
])
def test_a_sweep_takes_lists_and_any_option_that_is_a_number_and_leaves_the_rest_as_published(text, n, flags, name):
    runs = grid.sweep_grid(*grid.sweep_values(text), (0,), "mnist", "nib", "none")
    assert len(runs) == n
    command = f"--model=nib --dataset=mnist {flags} --desc=sweep/mnist/nib-none/{name}"
    assert commands(runs)[-1] == f"python train_lagrangian.py {command}"
    for run in runs:
        place = Place.of(f"{run.desc}/seed0")
        assert commands([place.run()]) == commands([run])  # the report finds it again


def test_the_time_of_runs_of_another_length_is_not_known():
    records = [{"where": f"{where}/seed0"} for where in ("quant/mnist/nib", "sweep/mnist/nib-none/lambda_kl=0.1")]
    for text, known in (("emb_dim:4", 2), ("epochs:2", 0)):
        [run] = grid.sweep_grid(*grid.sweep_values(text), (0,), "mnist", "nib", "none")
        assert len(alike(run, records)) == known


@pytest.mark.parametrize("text", [
    "lambda_kl", "lambda_kl:1..2", "lambda_kl:0..1:9", "lambda_kl:1..nan:3", "lambda_kl:1e-5..1:x", "lambda_kl:a,b",
    "lambda_kl:nan", "emb_dim:1.5,2", "lambda_kl:",
])
def test_a_sweep_that_makes_no_sense_is_refused(text):
    with pytest.raises(UserError, match="lambda_kl:1e-5..1e-1:9"):
        grid.sweep_values(text)


@pytest.mark.parametrize("name", ["lr", "rand_seed", "desc", "nib_log_std_trainable", "enc_hidden_dims"])
def test_what_cannot_be_swept_is_refused_by_name(name):
    with pytest.raises(UserError, match=f"{name} cannot be swept"):
        grid.sweep_values(f"{name}:1,2")


def test_the_plan_says_what_is_there_what_would_start_and_how_long_by_which_runs(runs):
    machine = {"device": "cpu", "processor": "P"}
    records = [
        {"machine": machine, "where": f"q/{name}/seed{seed}", "seconds": {"training": 50 + seed, "evaluation": 10}}
        for name in ("first", "third") for seed in range(3)
    ]
    records.append({"machine": machine | {"device": "GPU"}, "where": "q/fourth/seed0", "seconds": {"training": 1}})
    Path("known.json").write_text(json.dumps({"runs": records}))
    runs[0].folder.path.mkdir(parents=True)
    runs[0].folder.config.write_text('{"options": {"epochs": 3}}')
    runs[0].folder.evaluation.write_text("{}")
    shown = plan(runs, [], jobs=1, device="cpu", known=Path("known.json"))
    rows = [line.split("  ") for line in shown.splitlines()[2:6]]
    assert [[row[0], row[-1].strip()] for row in rows] == [
        ["q/first", "–"], ["q/fails", "not known"], ["q/third", "1 min 01 s"], ["q/fourth", "not known (1 s on GPU)"]
    ]
    assert "3 of 4 to run, about 1 min 01 s; the time of 2 is not known" in shown and "3 committed runs" in shown
    assert "  python train.py --desc=q/third\n" in shown and not Path("starts").exists()


@pytest.mark.parametrize("flag", ["--list", "--dry_run"])
def test_the_plan_starts_nothing_and_leaves_no_trace(tmp_path, flag):
    outcome = execute(tmp_path, "reproduce.py", "--seeds=0,1,2", "--sweep=lambda_kl:0.01,0.1", flag)
    assert outcome.status == 0 and "6 of 6 to run, about " in outcome.out and list(tmp_path.iterdir()) == []


def test_the_quick_version_is_small_and_lies_apart():
    for run in grid.published_grid((), (0,), "mnist"):
        if run.script == "train_disenib_mnist.py":  # needs a download
            continue
        run = grid.quick(run)
        command = " ".join(run.command())
        assert run.desc.startswith("quick/") and "--dataset=mnist" not in command
        assert "--epochs=" in command or "--steps=" in command
        assert ("--data_source=rendered" in command) == ("shapes" in command or "sprites" in command)


FAKE_SCRIPT = """
    import fcntl, json, os, signal, sys, time
    from pathlib import Path

    flags = dict(word.removeprefix("--").split("=") for word in sys.argv[1:] if "=" in word)
    folder = Path("STORAGE/experiments", flags["desc"], "seed" + flags.get("rand_seed", "0"))
    folder.mkdir(parents=True, exist_ok=True)
    lock = open(folder / ".lock", "a+")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if (folder / "config.json").exists() != ("--resume" in sys.argv):
        sys.exit("wrong use of --resume")
    (folder / "config.json").write_text(json.dumps({"options": {"epochs": 3}}))
    with open("starts", "a") as starts:
        print(flags["desc"], "--resume" in sys.argv, *map(os.environ.get, ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")),
              file=starts)
    if "fails" in flags["desc"] and not Path("mended").exists():
        sys.exit("this is why")
    stopped = []
    signal.signal(signal.SIGINT, lambda *_: stopped.append(1))
    (folder / "ready").touch()
    while Path("slow").exists() and not stopped:
        time.sleep(0.02)
    if stopped:
        (folder / "saved").touch()
        sys.exit(130)
    (folder / "evaluation.json").write_text("{}")
"""


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Four runs of a script that does nothing, in a working directory of their own; the second one fails."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(task, "SCRIPTS", tmp_path)
    (tmp_path / "train.py").write_text(textwrap.dedent(FAKE_SCRIPT))
    monkeypatch.setattr(grid.Run, "options", lambda run: {"epochs": 3})
    return [grid.Run("train.py", (), f"q/{name}") for name in ("first", "fails", "third", "fourth")]


def run_all(runs, jobs=1, gpus=()):
    with StopRequest() as stop:
        return runner.run_all(runs, jobs=jobs, stop=stop, gpus=gpus)


def starts() -> list[str]:
    lines = Path("starts").read_text().splitlines()
    Path("starts").unlink()
    return sorted(lines)


def test_finished_runs_are_skipped_begun_ones_resumed_and_a_failed_one_holds_up_none(runs, capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    finished, begun = runs[0].folder, runs[2].folder
    for folder in (finished, begun):
        folder.path.mkdir(parents=True)
        folder.config.write_text("{}")
    finished.evaluation.write_text("{}")
    ends = run_all(runs)
    assert starts() == ["q/fails False 4 ", "q/fourth False 4 ", "q/third True 4 "]
    assert ends.finished == [runs[0], runs[2], runs[3]]
    assert ends.failed == [(runs[1], 1, "this is why")]
    printed = capsys.readouterr().out
    assert "started: python train.py --desc=q/fourth\n" in printed
    assert "resumed: python train.py --desc=q/third --resume\n" in printed
    assert "FAILED" in printed and str(runner.log_of(runs[1])) in printed

    Path("mended").touch()
    again = run_all(runs)
    assert starts() == ["q/fails True 4 "] and again.finished == runs and not again.failed


def test_jobs_run_side_by_side_with_the_threads_divided_among_them(runs, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    Path("mended").touch()
    ends = run_all(runs, jobs=2)
    assert len(ends.finished) == 4 and {line.split()[2] for line in starts()} == {"2"}


@pytest.mark.parametrize("visible, count, device, wanted", [
    (None, 3, "auto", ["0", "1", "2"]), ("5,3", 2, "cuda", ["5", "3"]), ("5,9,3", 1, "auto", ["5"]),  # there is no 9
    ("GPU-1a,MIG-2b", 2, "auto", ["GPU-1a", "MIG-2b"]), ("", 0, "auto", []), ("5,3", 2, "cuda:1", []),
    (None, 2, "cpu", []),
])
def test_the_gpus_are_those_that_the_user_has_made_visible(monkeypatch, visible, count, device, wanted):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    assert compute.visible_gpus(device) == wanted


def test_every_job_has_a_gpu_of_its_own_and_more_jobs_share_them_evenly(runs, monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    Path("mended").touch()
    Path("slow").touch()
    runs = [replace(run, desc=f"{run.desc}{i}") for i in range(2) for run in runs]
    ready = [run.folder.path / "ready" for run in runs]

    def let_go() -> None:
        """Once six are at work at a time, which are then followed by two."""
        while sum(path.exists() for path in ready) < 6:
            time.sleep(0.05)
        Path("slow").unlink()

    thread = threading.Thread(target=let_go)
    thread.start()
    assert len(run_all(runs, jobs=6, gpus=["5", "3", "GPU-1a"]).finished) == 8
    thread.join()
    given = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("started")]
    assert [words[1:3] for words in given][:6] == [
        ["OMP_NUM_THREADS=1", f"CUDA_VISIBLE_DEVICES={gpu}"] for gpu in ("5", "3", "GPU-1a") * 2
    ]
    started = {line.split()[0]: line.split()[3] for line in starts()}
    assert started == {words[-1].split("=")[1]: words[2].split("=")[1] for words in given}


def test_a_run_that_another_process_holds_is_left_alone(runs):
    folder = runs[3].folder
    folder.path.mkdir(parents=True)
    with open(folder.path / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert runner.state(runs[3]) == "running"
        assert run_all(runs[3:]).elsewhere == [runs[3]]
    assert runner.state(runs[3]) == "absent"


def test_what_another_process_holds_is_not_finished_and_so_is_the_command(tmp_path):
    """As after a SIGKILL of the command before, whose run goes on."""
    [run] = map(grid.quick, grid.published_grid(("vib",), (0,), "mnist"))
    folder = tmp_path / run.folder.path
    folder.mkdir(parents=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        print(4711, file=lock, flush=True)
        outcome = execute(tmp_path, "reproduce.py", "--quick", "--only=vib")
    assert outcome.status == 1 and "process 4711" in outcome.out and "1 of the runs not finished" in outcome.err


def test_ctrl_c_waits_until_the_runs_have_saved(runs):
    Path("slow").touch()
    ready = [runs[i].folder.path / "ready" for i in (0, 2)]

    def interrupt() -> None:
        deadline = time.monotonic() + 60
        while not all(path.exists() for path in ready) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    ends = run_all([runs[0], runs[2], runs[3]], jobs=2)
    thread.join()
    assert ends.interrupted and not ends.finished and not ends.failed
    assert all(path.with_name("saved").exists() for path in ready)
    assert runner.state(runs[3]) == "absent"  # nothing new was started


def test_a_run_with_other_flags_in_the_place_of_a_published_one_is_named_and_left_alone(runs):
    finished, begun = runs[0].folder, runs[2].folder
    for folder in (finished, begun):
        folder.path.mkdir(parents=True)
        folder.config.write_text('{"options": {"epochs": 5}}')
    finished.evaluation.write_text("{}")
    ends = run_all([runs[0], runs[2], runs[3]])
    assert ends.foreign == [(runs[0], "--epochs=5"), (runs[2], "--epochs=5")] and ends.finished == [runs[3]]
    assert [line.split()[0] for line in starts()] == ["q/fourth"]


def test_a_report_with_runs_of_one_s_own_keeps_nothing_of_an_earlier_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("reporting.report.report", lambda *_, **__: "")
    for file in ("results/new.json", "STORAGE/report-own/old.json"):
        Path(file).parent.mkdir(parents=True)
        Path(file).write_text("{}")
    reproduce.show_report(opt.parse(reproduce.Options, ["--report"]), ["mine"])
    assert [path.name for path in Path("STORAGE/report-own").iterdir()] == ["new.json"]


def test_what_does_not_change_the_experiment_may_differ_once_it_is_finished(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [run] = grid.published_grid(("disentangling-shapes",), (0,), "mnist")
    saved = run.options()
    assert saved["holdout"] == 0.1 and saved["lambda_rec"] == 100.0 and saved["precision"] == "fp32"
    run.folder.path.mkdir(parents=True)
    run.folder.config.write_text(json.dumps({"options": {**saved, "precision": "bf16", "device": "cpu"}}))
    assert runner.others_in_place(run, "finished") == []
    assert runner.others_in_place(run, "begun") == ["--precision=bf16"]  # which resuming would refuse
    [measured] = grid.objections([run])
    assert runner.others_in_place(measured, "begun") == []  # it resumes no training
    run.folder.config.write_text(json.dumps({"options": {**saved, "holdout": 0.0}}))
    assert runner.others_in_place(run, "finished") == ["--holdout=0.0"]


def test_runs_that_appear_twice_are_started_once(runs):
    assert len(run_all([runs[0], runs[0]], jobs=2).finished) == 1


def test_no_run_is_left_alone_when_something_goes_wrong_beside_it(runs, monkeypatch):
    Path("slow").touch()
    ready = runs[0].folder.path / "ready"

    def broken(self, *arguments):
        if ready.exists():
            raise RuntimeError("a defect")

    monkeypatch.setattr(runner.View, "show", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        run_all(runs[:1])
    assert runner.state(runs[0]) == "begun"  # nobody holds it any more


def test_runs_go_on_when_nobody_reads_what_is_printed(runs, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as gone:
        monkeypatch.setattr("sys.stdout", gone)
        monkeypatch.setattr("sys.__stdout__", gone)
        no_print_may_fail()  # as every script begins
        assert run_all(runs[:1]).finished == runs[:1]


def test_the_position_of_a_run_is_that_of_its_last_logged_line(runs):
    folder = runs[0].folder
    folder.path.mkdir(parents=True)
    assert runner.position(folder) == "starting"
    folder.config.write_text(json.dumps({"options": {"steps": 20_000}}))
    folder.metrics.write_text('{"epoch": 1, "step": 10}\n{"epoch": 2, "step": 4510}\n')
    assert runner.position(folder) == "step 4,510 of 20,000"


def test_failed_runs_end_with_status_1_and_the_place_of_their_log(tmp_path):
    """The whole command, with a script that refuses a file where its folder should be."""
    in_the_way = tmp_path / "STORAGE/tensorboard/quick/quant"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("mine")
    outcome = execute(tmp_path, "reproduce.py", "--quick", "--only=vib")
    assert outcome.status == 1, outcome
    assert "STORAGE/reproduce/quick/quant/digits/vib/seed0.log" in outcome.out
    assert "(exit status 2)" in outcome.out and "STORAGE/tensorboard/quick/quant" in outcome.out
    assert outcome.err == "reproduce.py: 1 of the runs could not be made; the same command tries them again\n"
    assert not (tmp_path / "STORAGE/report-quick").exists()
