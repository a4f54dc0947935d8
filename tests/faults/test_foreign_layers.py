"""A user's own layers, which draw from the generators of torch, numpy or Python: same command, same bits."""

import random

import numpy as np
import pytest
import torch
from conftest import assert_same_end, execute, run_of, state_of, terminated_at, train, train_disenib
from torch import nn

from modellib import disenib, ib_lagrangian
from modellib.networks import VIBEncoder


class Foreign(nn.Module):
    """Initial weights and noise from everywhere, and dropout."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(64) + torch.randn(64) / 10 + np.random.rand() / 10 + random.random() / 10)
        self.convolution = nn.Conv1d(1, 1, 3, padding=1)
        self.dropout = nn.Dropout(0.2)

    def forward(self, images):
        images = images * (1 + np.random.rand() / 100 + random.random() / 100)  # in evaluations too
        return self.dropout(self.convolution((images * self.scale)[:, None])[:, 0])


class ForeignEncoder(VIBEncoder):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.layers.insert(0, Foreign())


@pytest.fixture(autouse=True)
def foreign(monkeypatch):
    monkeypatch.setattr(ib_lagrangian, "VIBEncoder", ForeignEncoder)


def another_process() -> None:
    """What the generators of a new process hold, nobody knows."""
    torch.seed()
    np.random.seed()
    random.seed()


@pytest.fixture
def unbroken(tmp_path):
    cwd = tmp_path / "unbroken"
    cwd.mkdir()
    another_process()
    assert train(cwd).status == 0
    return cwd


def test_a_run_with_foreign_layers_repeats_its_bits_and_another_seed_has_others(tmp_path, unbroken):
    another_process()
    assert train(tmp_path).status == 0
    assert_same_end(tmp_path, unbroken)
    assert train(tmp_path, "--rand_seed=1").status == 0
    other = run_of(tmp_path).path.with_name("seed1") / "checkpoints" / "last.pt"
    scales = [state_of(path)["encoder"]["layers.0.scale"] for path in (other, run_of(unbroken).last)]
    assert scales[0] != scales[1]


class Killed(BaseException):
    """Nothing catches it, and nothing is saved any more."""


@pytest.mark.parametrize("at", [1, 5, 14, 30])
@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_it_goes_on_to_the_same_bits(tmp_path, unbroken, monkeypatch, how, at):
    original, calls = ib_lagrangian.update, iter(range(1, at + 1))

    def dies(*arguments, **keywords):
        if next(calls, None) == at:
            raise Killed
        return original(*arguments, **keywords)

    if how == "stopped":
        with terminated_at(at, ib_lagrangian, "update"):
            assert train(tmp_path).status == 128 + 15
    else:
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(ib_lagrangian, "update", dies)
            train(tmp_path)
    another_process()
    assert train(tmp_path, "--resume").status == 0
    assert_same_end(tmp_path, unbroken)


def test_evaluating_it_again_gives_the_numbers_of_its_end(unbroken):
    another_process()
    assert execute(unbroken, "evaluate.py", "--desc=a/b", "--metrics=accuracy,attack").status == 0
    path = run_of(unbroken).path
    last, end = ((path / name).read_text() for name in ("evaluation-last.json", "evaluation.json"))
    assert [line for line in last.splitlines() if "0." in line and line not in end.splitlines()] == []


def test_how_often_is_evaluated_changes_no_bit_of_training(tmp_path, monkeypatch):
    monkeypatch.setattr(disenib, "mlp", lambda *sizes, mlp=disenib.mlp: nn.Sequential(
        *[Foreign()] * (sizes[0] == 64), mlp(*sizes)
    ))
    states = []
    for every in (3, 100):
        (tmp_path / str(every)).mkdir()
        assert train_disenib(tmp_path / str(every), f"--freq_step_eval_quant={every}").status == 0
        states.append(state_of(run_of(tmp_path / str(every), "d").last))
        del states[-1]["progress"]
    assert states[0] == states[1]


def test_disenib_too(tmp_path, monkeypatch):
    mlp = disenib.mlp
    monkeypatch.setattr(disenib, "mlp", lambda *sizes: nn.Sequential(*[Foreign()] * (sizes[0] == 64), mlp(*sizes)))
    states = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        another_process()
        with terminated_at(20, disenib, "main_update"):
            assert train_disenib(tmp_path / name).status == 128 + 15
        another_process()
        assert train_disenib(tmp_path / name, "--resume").status == 0
        states.append(state_of(run_of(tmp_path / name, "d").last))
    another_process()
    assert train_disenib(tmp_path).status == 0
    assert states[0] == states[1] == state_of(run_of(tmp_path, "d").last)


def test_a_checkpoint_from_before_these_generators_were_kept_goes_on(copy, monkeypatch):
    monkeypatch.undo()
    (run_of(copy).path / "evaluation.json").unlink()
    saved = torch.load(run_of(copy).last, weights_only=True)
    del saved["state"]["generators"]["global"]
    torch.save(saved, run_of(copy).last)
    assert train(copy, "--resume").status == 0
