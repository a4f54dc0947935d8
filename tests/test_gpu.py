"""The scripts on a CUDA device: runs to their end, the same bits when recorded, repeated and resumed; evaluation."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY, VISIBLE_GPUS, comparable

pytestmark = pytest.mark.skipif(
    not list(Path("/dev").glob("nvidia[0-9]*")) or VISIBLE_GPUS == "", reason="needs an NVIDIA GPU"
)
DISENIB = "--steps=30 --est_thr=8 --freq_step_chkpt=10 --freq_step_eval_quant=20"
COMMANDS = {
    "vib": "train_lagrangian.py --model=vib --lambda_kl=0.01 --dataset=digits --epochs=3 --desc=r",
    "nib": "train_lagrangian.py --model=nib --hfunc=pow --lambda_kl=0.001 --dataset=digits --epochs=3 --desc=r",
    "ceb": "train_lagrangian.py --model=ceb --lambda_kl=0.01 --dataset=digits --epochs=3 --desc=r",
    "pgd-trained": "train_lagrangian.py --model=plain --train_attack=pgd --dataset=digits --epochs=3 --desc=r",
    "disenib": f"train_disenib.py --dataset=digits --desc=r {DISENIB}",
    "disenib-bf16": f"train_disenib.py --dataset=digits --desc=r --precision=bf16 {DISENIB}",
    "shapes": f"train_disenib_shapes.py --data_source=rendered --desc=r {DISENIB} --freq_step_eval=15",
    "sprites": f"train_disenib_sprites.py --data_source=rendered --desc=r {DISENIB} --freq_step_eval=15",
}
NEVER_RECORDED = (
    "import custom_pkg.cuda_graphs as graphs, runpy, sys; graphs.WARM_UP = 10**9; "
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)


def run(cwd: Path, command: str, *, recorded: bool = True) -> str:
    """The output of a command with the GPU in sight."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # of this repository, as pytest sees it
    del environment["CUDA_VISIBLE_DEVICES"]
    if VISIBLE_GPUS != "all":
        environment["CUDA_VISIBLE_DEVICES"] = VISIBLE_GPUS
    script, *flags = command.split()
    python = [sys.executable] if recorded else [sys.executable, "-c", NEVER_RECORDED]
    outcome = subprocess.run(
        [*python, REPOSITORY / script, *flags], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


def end_of(cwd: Path) -> tuple[dict, dict]:
    """All of the last checkpoint's state, and the final metrics."""
    folder = cwd / "STORAGE" / "experiments" / "r" / "seed0"
    checkpoint = torch.load(folder / "checkpoints" / "last.pt", weights_only=True, map_location="cpu")
    assert checkpoint["device"] == "cuda"
    state = comparable(checkpoint["state"])
    del state["progress"]["seconds"]
    return state, json.loads((folder / "evaluation.json").read_text())


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_run_is_the_same_when_recorded_or_not_when_repeated_and_when_resumed(tmp_path, command):
    ends = []
    for name, recorded in (("recorded", True), ("again", True), ("plain", False)):
        cwd = tmp_path / name
        cwd.mkdir()
        assert "on cuda" in run(cwd, command, recorded=recorded)
        ends.append(end_of(cwd))
    assert all(math.isfinite(ends[0][1]["test"][key]) for key in ("accuracy", "mi_xt", "mi_yt"))
    assert ends[1] == ends[0]
    assert ends[2][0] == ends[0][0]

    folder = tmp_path / "again" / "STORAGE" / "experiments" / "r" / "seed0"
    if "train_disenib" in command:  # the others keep no checkpoint of the middle
        shutil.copy(folder / "checkpoints" / "step20.pt", folder / "checkpoints" / "last.pt")
        (folder / "evaluation.json").unlink()
        assert "from step 20 on" in run(tmp_path / "again", f"{command} --resume")
        assert end_of(tmp_path / "again") == ends[0]


def test_a_run_moves_to_the_cpu_and_back_when_asked_to(tmp_path):
    run(tmp_path, COMMANDS["vib"])
    for epochs, before, now in ((4, "cuda", "cpu"), (5, "cpu", "cuda")):
        said = run(tmp_path, f"{COMMANDS['vib']} --epochs={epochs} --resume --device={now}")
        assert f"warning: trained on {before} until here and on {now} from here on" in said
    state, evaluation = end_of(tmp_path)
    assert evaluation["epoch"] == 5 and evaluation["test"]["accuracy"] > 0.5


def test_a_checkpoint_of_a_gpu_is_evaluated_there_and_on_the_cpu(tmp_path):
    run(tmp_path, COMMANDS["vib"])
    folder = tmp_path / "STORAGE" / "experiments" / "r" / "seed0"
    final = json.loads((folder / "evaluation.json").read_text())
    for device, tolerance in (("cuda", 1e-12), ("cpu", 0.05)):  # other random numbers on the CPU
        run(tmp_path, f"evaluate.py --desc=r --device={device}")
        again = json.loads((folder / "evaluation-last.json").read_text())
        for name in ("accuracy_mean_code", "accuracy", "mi_yt"):
            assert again["test"][name] == pytest.approx(final["test"][name], abs=tolerance)
