"""An exported run has what an evaluation needs, gives the numbers of its run, and lies anywhere."""

import importlib
import json

import pytest
import torch
from conftest import REPOSITORY, assert_refused, contents, execute, results, run_of, train_disenib
from safetensors import safe_open

import dataloader
from custom_pkg import checkpoints, exported
from custom_pkg.options import to_dict
from experiments.registry import EXPERIMENTS, evaluated
from experiments.runs import load_run, read_run

SCRIPTS = {  # with the images of their published runs
    "train_lagrangian": ("mnist", 1, 28, 10), "train_disenib": ("mnist", 1, 28, 10),
    "train_disenib_mnist": ("mnist", 1, 28, 10), "train_disenib_shapes": ("shapes", 1, 64, 3),
    "train_disenib_sprites": ("sprites", 3, 60, 8),
}


def export(cwd, *flags, desc="a/b"):
    return execute(cwd, "export.py", f"--desc={desc}", *flags)


def numbers(found: dict) -> dict[str, float]:
    return {f"{split}/{name}": value for split in ("train", "test") for name, value in found[split].items()
            if isinstance(value, float)}


@pytest.mark.parametrize("dtype, tolerance", [("float32", 0), ("float16", 2e-3), ("bfloat16", 2e-2)])
def test_an_exported_file_gives_the_numbers_of_its_run_wherever_it_lies(copy, tmp_path, dtype, tolerance):
    here, away = tmp_path / "here", tmp_path / "away"
    here.mkdir()
    outcome = export(copy, f"--dtype={dtype}", f"--to={away}/vib.safetensors")
    assert outcome.status == 0 and f"--checkpoint={away}/vib.safetensors" in outcome.out, outcome.err
    (copy / "STORAGE").rename(tmp_path / "gone")
    evaluation = results(tmp_path / "gone/experiments/a/b/seed0/evaluation.json")
    assert execute(here, "evaluate.py", f"--checkpoint={away}/vib.safetensors").status == 0
    found = results(away / "evaluation-vib.json")
    assert numbers(found) == pytest.approx(numbers(evaluation), abs=tolerance)
    assert found.keys() == evaluation.keys() and (tolerance or found == evaluation)
    run = load_run(away / "vib.safetensors")
    assert run.metrics == evaluation
    assert (run.options.lambda_kl, run.options.enc_hidden_dims, run.options.epochs) == (0.01, (16,), 3)
    with safe_open(away / "vib.safetensors", "pt") as file:  # as anybody reads such a file
        dtypes = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    assert dtypes == {exported.DTYPES[dtype]}


def test_of_disenib_all_that_its_metrics_and_swaps_need_is_exported_and_no_more(tmp_path, monkeypatch):
    assert train_disenib(tmp_path).status == 0
    assert export(tmp_path, "--dtype=float32", desc="d").status == 0
    file = run_of(tmp_path, "d").path / "model.safetensors"
    assert execute(tmp_path, "evaluate.py", f"--checkpoint={file}").status == 0
    evaluation = results(run_of(tmp_path, "d").path / "evaluation.json")
    assert results(file.parent / "evaluation-model.json") == evaluation
    run, before = load_run(file), load_run(run_of(tmp_path, "d").last)
    assert run.networks.keys() == {"style_encoder", "class_encoder", "decoder", "reconstructor"}
    style, labels = torch.randn(10, 16), torch.arange(10)
    torch.testing.assert_close(run.model.reconstructor(style, labels), before.model.reconstructor(style, labels))


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_s_networks_are_small_at_the_published_size_and_come_back(tmp_path, script):
    name, channels, side, n_classes = SCRIPTS[script]
    options = importlib.import_module(script).Options(desc="published")
    data = {"name": name, "image_shape": [channels, side, side], "n_classes": n_classes, "sha256": {}}
    model, networks = EXPERIMENTS[script].build(data, options)
    weights = {name: network.state_dict() for name, network in evaluated(model, networks).items()}
    saved = {
        "format": checkpoints.FORMAT, "version": checkpoints.VERSION, "script": script, "options": to_dict(options),
        "data": data | {"source": "x"}, "device": "cpu", "position": {"epoch": 1, "step": 2},
    }
    path = tmp_path / "x.safetensors"
    path.write_bytes(exported.pack(exported.description(saved, {}), weights, "bfloat16"))
    assert path.stat().st_size < 12e6
    run = read_run(path, torch.device("cpu"))
    assert "density_estimator" not in run.networks
    assert hasattr(run.model, "reconstructor") == (script != "train_lagrangian")
    for name, network in run.networks.items():
        for key, tensor in network.state_dict().items():
            assert torch.equal(tensor, weights[name][key].bfloat16().float()), f"{name}.{key}"


def test_the_program_of_torch_export_gives_the_logits_of_the_mean_code_for_any_number_of_images(copy):
    assert export(copy, "--format=torch_export").status == 0
    file, extra = run_of(copy).path / "model.pt2", {"run.json": ""}
    program = torch.export.load(str(file), extra_files=extra).module()
    run = load_run(run_of(copy).path)
    images = run.data.sets["test"][0][:7]
    torch.testing.assert_close(program(images), run.model.classifier()(images))
    assert json.loads(extra["run.json"])["options"]["model"] == "vib"
    assert_refused(execute(copy, "evaluate.py", f"--checkpoint={file}"), "model.pt2", "not a checkpoint")


def test_a_run_without_metrics_is_exported_with_a_word_and_a_best_checkpoint_has_its_own(copy):
    assert "checkpoints/previous.pt has not been evaluated" in export(copy, "--checkpoint=previous").out
    assert load_run(run_of(copy).path / "model-previous.safetensors").metrics == {}
    assert execute(copy, "evaluate.py", "--desc=a/b", "--checkpoint=previous", "--metrics=accuracy").status == 0
    assert "has not been evaluated" not in export(copy, "--checkpoint=previous").out
    metrics = load_run(run_of(copy).path / "model-previous.safetensors").metrics
    assert not (run_of(copy).path / "model.safetensors").exists()
    assert metrics == results(run_of(copy).path / "evaluation-previous.json") and metrics["epoch"] == 2


@pytest.mark.parametrize("flags, words", [
    (["--to=x.pt"], "--to=x.pt and .safetensors"), (["--format=torch_export", "--to=x.safetensors"], ".pt2"),
    (["--format=torch_export", "--dtype=bfloat16"], "--dtype"), (["--checkpoint=best.pt"], "--checkpoint"),
    (["--rand_seed=3"], "seed3"), (["--dtype=float8"], "--dtype"), (["--to=my model.safetensors"], "my model"),
    (["--to=/dev/null/x.safetensors"], "/dev/null/x.safetensors and another place"),
])
def test_what_cannot_be_exported_is_refused_and_nothing_is_written(copy, flags, words):
    before = contents(copy)
    assert_refused(export(copy, *flags), *words.split(" and "))
    assert contents(copy) == before


def test_weights_too_large_for_16_bits_are_refused_with_what_holds_them(copy):
    saved = torch.load(run_of(copy).last, weights_only=True)
    saved["state"]["decoder"]["0.bias"][0] = 1e6
    torch.save(saved, run_of(copy).last)
    assert_refused(export(copy), "decoder.0.bias", "--dtype=bfloat16")
    assert export(copy, "--dtype=bfloat16").status == 0


def test_committed_weights_are_those_of_the_committed_runs():
    for file in (REPOSITORY / "results/models").glob("*.safetensors"):
        run = read_run(file, torch.device("cpu"))
        assert file.stat().st_size <= 12e6 and run.options.rand_seed == 0
        committed = REPOSITORY / "results" / run.options.desc / "seed0/evaluation.json"
        assert run.metrics == json.loads(committed.read_text())
        assert run.saved["data"]["name"] in dataloader.DATASETS | dataloader.FACTORED
