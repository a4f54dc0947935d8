import io
import os
import pickle
import zipfile

import pytest
import torch
from conftest import comparable

from custom_pkg import checkpoints
from custom_pkg.errors import RunFailed, UserError
from modellib.optimiser import adam

STATE = {
    "networks": {"weight": torch.arange(6.0).reshape(2, 3)},
    "counters": {"epoch": 3, "share": 0.1},
    "options": {"dims": [16, 16], "name": "vib", "on": True, "nothing": None},
    "random": torch.Generator().manual_seed(5).get_state(),
}


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "last.pt"
    checkpoints.save(path, STATE)
    return path


def refusal(path) -> str:
    with pytest.raises(UserError) as error:
        checkpoints.load(path)
    message = str(error.value)
    assert str(path) in message and "\n" not in message
    return message


def test_what_was_saved_is_loaded_bit_for_bit(checkpoint):
    loaded = checkpoints.load(checkpoint)
    assert comparable({name: loaded[name] for name in STATE}) == comparable(STATE)
    assert os.listdir(checkpoint.parent) == ["last.pt"]


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused(checkpoint, share):
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(len(content) * share)])
    assert "damaged" in refusal(checkpoint)


def test_a_flipped_bit_in_a_weight_is_refused(checkpoint):
    content = bytearray(checkpoint.read_bytes())
    place = content.index(STATE["networks"]["weight"].numpy().tobytes())
    content[place + 9] ^= 1
    checkpoint.write_bytes(content)
    assert "damaged" in refusal(checkpoint)


def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(checkpoint):
    content = checkpoint.read_bytes()
    for place in range(0, len(content), 61):
        damaged = bytearray(content)
        damaged[place] ^= 4
        checkpoint.write_bytes(damaged)
        try:
            loaded = checkpoints.load(checkpoint)
        except UserError:
            continue
        assert comparable({name: loaded[name] for name in STATE}) == comparable(STATE), place


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "other.pt"
    path.write_text("not a checkpoint")
    refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "a zip of something else")
    refusal(path)
    torch.save([1, 2], path)
    refusal(path)
    torch.save({"state": {}, "model": "somebody else's"}, path)
    refusal(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    refusal(tmp_path / "nowhere.pt")
    refusal(tmp_path)


def test_a_checkpoint_of_another_version_is_refused_with_both_versions(checkpoint):
    torch.save({"format": checkpoints.FORMAT, "version": 99, **STATE}, checkpoint)
    assert "99" in refusal(checkpoint) and f"version {checkpoints.VERSION}" in refusal(checkpoint)


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("it-ran",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_not_run(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    content = io.BytesIO()
    torch.save({"format": checkpoints.FORMAT, "state": Hostile()}, content)
    path = tmp_path / "hostile.pt"
    path.write_bytes(content.getvalue() if zipped else pickle.dumps(Hostile()))
    refusal(path)
    assert os.listdir(tmp_path) == ["hostile.pt"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_checkpoint_and_nothing_else(checkpoint, monkeypatch, call):
    old = checkpoint.read_bytes()

    def no_space(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, no_space)
    with pytest.raises(RunFailed, match="No space left on device.*intact"):
        checkpoints.save(checkpoint, {**STATE, "counters": {"epoch": 4}})
    assert checkpoint.read_bytes() == old
    assert os.listdir(checkpoint.parent) == ["last.pt"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_not_saved(checkpoint, value):
    old = checkpoint.read_bytes()
    weight = torch.ones(3)
    weight[1] = value
    with pytest.raises(RunFailed, match="networks.weight"):
        checkpoints.save(checkpoint, {**STATE, "networks": {"weight": weight}})
    assert checkpoint.read_bytes() == old


def test_a_restored_optimiser_has_the_moments_of_the_checkpoint_and_its_own_settings():
    def optimiser():
        return adam([torch.nn.Parameter(torch.ones(3))], 1e-3)

    trained, resumed = optimiser(), optimiser()
    trained.param_groups[0]["params"][0].grad = torch.ones(3)
    trained.step()
    saved = trained.state_dict()
    saved["param_groups"][0] |= {"capturable": True, "betas": (0.9, 0.9), "lr": 5.0}
    checkpoints.restore_optimizer(resumed, saved)
    assert resumed.param_groups[0]["capturable"] is False
    assert (resumed.param_groups[0]["lr"], resumed.param_groups[0]["betas"]) == (1e-3, (0.5, 0.999))
    moments = resumed.state_dict()["state"][0]
    torch.testing.assert_close(moments["exp_avg"], trained.state_dict()["state"][0]["exp_avg"])
