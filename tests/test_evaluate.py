import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest
import torch
from conftest import assert_refused, assert_same_end, contents, execute, results, run_of, train

from custom_pkg import checkpoints
from experiments import evaluation_files
from modellib.evaluations import attacks, robustness


def evaluate(cwd, *flags):
    return execute(cwd, "evaluate.py", "--desc=a/b", *flags)


def written(cwd, name) -> dict:
    return results(run_of(cwd).path / name)


def test_the_last_checkpoint_gives_the_numbers_of_the_end_of_training(copy):
    before = contents(copy)
    outcome = evaluate(copy)
    assert outcome.status == 0 and "I(X;T)" in outcome.out and "AUROC" in outcome.out
    after = contents(copy)
    curves, evaluation = sorted(after.keys() - before.keys())
    assert evaluation.endswith("a/b/seed0/evaluation-last.json") and curves.endswith("/detection-curves-last.json")
    assert before == {name: after[name] for name in before}
    for name in ("evaluation", "detection-curves"):
        assert written(copy, f"{name}-last.json") == written(copy, f"{name}.json")


@pytest.mark.parametrize("flags, splits, keys", [
    (["--metrics=accuracy"], ["train", "test"], ["accuracy", "accuracy_mean_code"]),
    (["--metrics=information", "--split=test"], ["test"], ["mi_xt", "mi_xt_stderr", "mi_yt", "mi_yt_lower_bound"]),
    (["--metrics=attack", "--split=train"], ["train"], ["fgsm", "fgsm_cross_entropy"]),
    (["--metrics=attack,accuracy", "--split=[test,train]"], ["train", "test"], ["accuracy", "fgsm"]),
])
def test_a_part_gives_the_same_numbers_as_the_whole(copy, flags, splits, keys):
    assert evaluate(copy, *flags).status == 0
    part, whole = written(copy, "evaluation-last.json"), written(copy, "evaluation.json")
    assert part.keys() == {"epoch", "step", *splits}
    for split in splits:
        assert set(keys) <= part[split].keys()
        assert {key: whole[split][key] for key in part[split]} == part[split]
        assert ("mi_xt" in part[split]) == ("mi_xt" in keys)


def test_detection_alone_gives_the_same_numbers_as_the_whole(copy):
    assert evaluate(copy, "--metrics=detection").status == 0
    assert written(copy, "evaluation-last.json")["ood"] == written(copy, "evaluation.json")["ood"]


def test_other_outside_data_can_be_asked_for(copy):
    assert evaluate(copy, "--metrics=detection", "--eval_odin_out_data=uniform,gauss").status == 0
    part = written(copy, "evaluation-last.json")["ood"]
    assert part.keys() == {"uniform", "gauss"}
    assert part["gauss"] == written(copy, "evaluation.json")["ood"]["gauss"]
    assert part["uniform"] != part["gauss"]


def test_what_two_evaluations_of_a_run_find_at_once_is_all_kept(tmp_path, monkeypatch):
    def slowly(path, real=evaluation_files.read_or_empty):
        found = real(path)
        time.sleep(0.2)
        return found

    monkeypatch.setattr(evaluation_files, "read_or_empty", slowly)
    file = tmp_path / "evaluation-last.json"
    parts = [{"test": {metric: 1.0}} for metric in ("accuracy", "mi_xt", "mi_yt")]
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(evaluation_files.write, tmp_path, "last", {"checkpoint_sha256": "a"}), parts))
    assert json.loads(file.read_text())["test"] == {"accuracy": 1.0, "mi_xt": 1.0, "mi_yt": 1.0}
    assert [*contents(tmp_path)] == ["evaluation-last.json"]


def test_of_two_trials_the_later_one_is_kept_and_a_damaged_robustness_holds_up_nothing(tmp_path):
    whole = {"n_images": 1000, "by_attack": {"fgsm_margin": {}, "square": {}}}
    for found in (whole, {"n_images": 100, "by_attack": {"fgsm_margin": {}}},
                  {"n_images": 50, "by_attack": {"square": {}}}):
        evaluation_files.write(tmp_path, "last", {"checkpoint_sha256": "a"}, {"robustness": found})
    read = lambda name: json.loads((tmp_path / f"evaluation-{name}.json").read_text())  # noqa: E731
    assert read("last")["robustness"] == whole and read("last-trial")["robustness"]["n_images"] == 50
    for damaged in ("x", {"by_attack": {"square": {}}}):
        (tmp_path / "evaluation-last.json").write_text(json.dumps({"checkpoint_sha256": "a", "robustness": damaged}))
        evaluation_files.write(tmp_path, "last", {"checkpoint_sha256": "a"}, {"robustness": whole})
        assert read("last")["robustness"] == whole


@pytest.mark.parametrize("flags, words", [
    (["--metrics=accuracy", "--n_images=20"], "--n_images=20 goes with the metric robustness"),
    (["--metrics=robustness", "--split=train"], "--metrics=robustness needs --split=test"),
])
def test_what_robustness_alone_is_for_is_refused_without_it(copy, flags, words):
    before = contents(copy)
    assert_refused(evaluate(copy, *flags), words)
    assert contents(copy) == before


def test_what_was_measured_with_other_sizes_of_an_attack_stays(copy):
    for epsilon in ("0.1", "0.2"):
        assert evaluate(copy, "--metrics=attack", "--split=test", f"--eval_attack_epsilons={epsilon}").status == 0
    assert written(copy, "evaluation-last.json")["test"]["fgsm"].keys() == {"0.1", "0.2"}


def test_all_and_robustness_are_both_measured_and_a_trial_replaces_nothing_larger(copy, monkeypatch):
    monkeypatch.setattr(robustness, "adversarial", lambda _, target, images, labels, **__: (
        images, torch.ones(len(images))))
    flags = ["--eval_attack_epsilons=0.1", "--attacks=fgsm_margin,pgd_margin"]
    assert evaluate(copy, "--metrics=all,robustness", "--n_images=40", *flags).status == 0
    large = written(copy, "evaluation-last.json")
    assert large["robustness"]["n_images"] == 40 and "fgsm" in large["test"]
    for smaller in (["--n_images=7"], ["--n_images=40", "--attacks=fgsm_margin"]):
        outcome = evaluate(copy, "--metrics=robustness", *flags, *smaller)
        assert outcome.status == 0 and "larger measurement of robustness: this one is in" in outcome.out
        assert written(copy, "evaluation-last.json") == large
        assert written(copy, "evaluation-last-trial.json")["robustness"]["clean_accuracy"] <= 1
    assert evaluate(copy, "--metrics=robustness", "--n_images=50", *flags).status == 0
    assert written(copy, "evaluation-last.json")["robustness"]["n_images"] == 50


ROBUSTNESS = ["--metrics=robustness", "--n_images=60", "--attacks=fgsm_margin,apgd_dlr,square"]


@pytest.mark.parametrize("code", ["sample", "mean"])
def test_robustness_goes_on_where_it_was_interrupted_to_the_same_figures(copy, monkeypatch, code):
    flags = [*ROBUSTNESS, f"--code={code}", "--eval_attack_epsilons=[0.1,0.4]"]
    short = replace(attacks.ATTACKS["square"], run=partial(attacks.square, queries=20), looks=20)
    monkeypatch.setitem(attacks.ATTACKS, "square", short)
    whole = evaluate(copy, *flags)
    assert whole.status == 0 and "worst case over all" in whole.out, whole.err
    file = "evaluation-last.json" if code == "sample" else "evaluation-last-mean-code.json"
    expected = written(copy, file)["robustness"]
    assert expected["n_images"] == 60 and expected["images"] == "60 of the test set, drawn with seed 0"
    clean, small, large = (expected["clean_accuracy"], *expected["worst_case"].values())
    assert clean > small > large and small <= min(figures["0.1"] for figures in expected["by_attack"].values())
    (run_of(copy).path / file).unlink()
    real, calls = robustness.adversarial, iter(range(3))

    def interrupted(*arguments, **keywords):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return real(*arguments, **keywords)

    monkeypatch.setattr(robustness, "adversarial", interrupted)
    assert evaluate(copy, *flags).status == 130
    made = []
    monkeypatch.setattr(robustness, "adversarial", lambda *a, **k: made.append(1) or real(*a, **k))
    assert evaluate(copy, *flags).status == 0
    assert len(made) == 2 * 3 + len(robustness.CURVE_EPSILONS) - 3
    assert written(copy, file)["robustness"] == expected
    assert not list(run_of(copy).path.glob(".*unfinished*"))


def test_the_best_checkpoint_is_evaluated_under_its_name(tmp_path):
    assert train(tmp_path, "--epochs=12", "--early_stop_trials=2", "--learning_rate=0.03").status == 0
    best = checkpoints.load(run_of(tmp_path).best)["state"]["progress"]
    assert evaluate(tmp_path, "--checkpoint=best", "--metrics=accuracy").status == 0
    assert written(tmp_path, "evaluation-best.json")["epoch"] == best["best_epoch"]


def test_a_checkpoint_elsewhere_gives_its_numbers_under_its_name(copy, tmp_path):
    moved = shutil.move(run_of(copy).last, tmp_path / "moved.pt")
    assert evaluate(copy, f"--checkpoint={moved}").status == 0
    assert written(copy, "evaluation-moved.json") == written(copy, "evaluation.json")


@pytest.mark.parametrize("where", ["beside it", "in its run", "read-only"])
def test_a_colleague_s_file_alone_is_enough_and_its_results_lie_beside_it(copy, tmp_path, monkeypatch, where):
    given, here = tmp_path / "colleague" / "vib.pt", tmp_path / "here"
    for folder in (given.parent, here):
        folder.mkdir()
    shutil.copy(run_of(copy).last, given)
    if where == "in its run":
        given = run_of(copy).last
    if where == "read-only":
        monkeypatch.setattr("os.access", lambda path, mode: False)
    outcome = execute(here, "evaluate.py", f"--checkpoint={given}")
    assert outcome.status == 0, outcome.err
    place = {"beside it": given.parent, "in its run": run_of(copy).path, "read-only": here}[where]
    evaluation = place / f"evaluation-{given.stem}.json"
    assert results(evaluation) == written(copy, "evaluation.json") and f"written to {evaluation}" in outcome.out
    assert ("nothing can be written" in outcome.out) == (where == "read-only")
    assert where == "read-only" or list(here.iterdir()) == []


@pytest.mark.parametrize("flag", ["--desc=c --lambda_kl=1", "--rand_seed=1", "--lambda_kl=1"])
def test_the_checkpoint_of_another_run_does_not_pass_for_this_ones(copy, tmp_path, flag):
    """Neither by its name nor where another clone has given its run this one's desc and seed."""
    other = tmp_path / "clone"
    other.mkdir()
    assert train(other, "--epochs=1", *flag.split()).status == 0
    assert evaluate(copy).status == 0
    before = contents(copy)
    checkpoint = next(other.rglob("last.pt"))
    assert_refused(evaluate(copy, f"--checkpoint={checkpoint}", "--metrics=accuracy"), "another run", flag.split()[-1])
    assert contents(copy) == before


def test_results_of_two_files_are_never_mixed_and_have_names_of_their_own(copy, tmp_path):
    """Files of this run from elsewhere, of another moment, and with the names of others."""
    assert evaluate(copy).status == 0
    for number, name in enumerate(("last", "moved", "moved")):
        (tmp_path / str(number)).mkdir()
        saved = torch.load(run_of(copy).last, weights_only=True)
        next(iter(saved["state"]["decoder"].values())).add_(number + 1)
        torch.save(saved, tmp_path / str(number) / f"{name}.pt")
        before = contents(run_of(copy).path)
        assert evaluate(copy, f"--checkpoint={tmp_path / str(number) / name}.pt", "--metrics=accuracy").status == 0
        after = contents(run_of(copy).path)
        assert before == {name: after[name] for name in before} and len(after) == len(before) + 1
    shutil.copy(tmp_path / "0" / "last.pt", run_of(copy).last)
    assert evaluate(copy, "--metrics=information").status == 0
    assert "accuracy" not in written(copy, "evaluation-last.json")["test"]  # those of what lay here before


def test_a_run_that_was_moved_is_still_that_run(copy, finished):
    run_of(copy).path.parent.rename(run_of(copy, "renamed").path.parent)
    (run_of(copy, "renamed").path / "evaluation.json").unlink()
    assert execute(copy, "evaluate.py", "--desc=renamed").status == 0
    assert train(copy, "--desc=renamed", "--resume").status == 0
    again = (run_of(copy, "renamed").path / "evaluation.json").read_bytes()
    assert again == (run_of(finished).path / "evaluation.json").read_bytes()


def as_before(cwd) -> None:
    """Turn the finished run into one of an older code: before an option, and before the step was a part of progress."""
    run = run_of(cwd)
    for path in (run.last, run.previous):
        saved = torch.load(path, weights_only=True)
        del saved["options"]["eval_odin_epsilon"]
        saved["state"]["losses"]["step"] = saved["state"]["progress"].pop("step")
        torch.save(saved, path)
    config = json.loads((run.path / "config.json").read_text())
    del config["options"]["eval_odin_epsilon"]
    (run.path / "config.json").write_text(json.dumps(config))


def test_a_checkpoint_older_than_an_option_is_evaluated_at_its_default(copy):
    as_before(copy)
    assert evaluate(copy).status == 0
    assert written(copy, "evaluation-last.json") == written(copy, "evaluation.json")


def test_a_run_older_than_an_option_goes_on_at_its_default_alone(copy, finished):
    as_before(copy)
    (run_of(copy).path / "evaluation.json").unlink()
    run_of(copy).last.write_bytes(run_of(copy).previous.read_bytes())
    assert_refused(train(copy, "--resume", "--eval_odin_epsilon=0.1"), "--eval_odin_epsilon was 0.0014, now 0.1")
    assert train(copy, "--resume").status == 0
    assert_same_end(copy, finished)


def test_an_option_that_the_code_does_not_know_is_named(copy):
    saved = torch.load(run_of(copy).last, weights_only=True)
    torch.save({**saved, "options": {**saved["options"], "temperature": 2.0}}, run_of(copy).last)
    assert_refused(evaluate(copy), "last.pt", "--temperature", "use the code that wrote it")


def damage(path, how):
    saved = checkpoints.load(path)
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:3000])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "of another project":
        torch.save({"state_dict": saved["state"]}, path)
    elif how == "of another version":
        torch.save({**saved, "version": 0}, path)
    elif how == "of an unknown script":
        torch.save({**saved, "script": "train_something"}, path)
    elif how == "without networks":
        torch.save({**saved, "state": {}}, path)
    elif how == "of other networks":
        torch.save({**saved, "options": {**saved["options"], "emb_dim": 3}}, path)


@pytest.mark.parametrize("how", [
    "truncated", "empty", "of another project", "of another version", "of an unknown script", "without networks",
    "of other networks",
])
def test_a_file_that_cannot_be_used_is_refused_in_one_line(copy, how):
    damage(run_of(copy).last, how)
    assert_refused(evaluate(copy), "last.pt")
    assert not (run_of(copy).path / "evaluation-last.json").exists()


def test_the_mean_code_can_be_attacked_in_place_of_a_sample_and_has_a_file_of_its_own(copy):
    assert evaluate(copy, "--code=mean", "--metrics=accuracy,attack").status == 0
    assert evaluate(copy, "--code=sample", "--metrics=accuracy,attack").status == 0  # as published for VIB
    files = (run_of(copy).path / f"evaluation-last{name}.json" for name in ("-mean-code", ""))
    of_mean, of_sample = (json.loads(file.read_text())["test"] for file in files)
    assert of_mean["accuracy_mean_code"] == of_sample["accuracy_mean_code"]
    robust, share = of_mean["fgsm_robust_accuracy"]["0.1"], of_mean["fgsm"]["0.1"]
    assert robust == pytest.approx(share * of_mean["accuracy_mean_code"])  # no noise between the two
    assert of_sample["fgsm"] != of_mean["fgsm"]
