"""README.md, CONTRIBUTING.md and docs/ say what is there: links, commands, tables, verdicts on the paper's claims."""

import csv
import importlib
import json
import re
from functools import cache

import numpy as np
import pytest
from conftest import REPOSITORY, execute

from custom_pkg import options as opt
from experiments.catalogue import METHODS
from reporting import tables
from reporting.claims import APART

PAGES = [
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *(REPOSITORY / folder / "README.md" for folder in ("", "tests", "results", "results/models")),
    *(REPOSITORY / name for name in ("CONTRIBUTING.md", "SECURITY.md")),
]
NAMES = [str(page.relative_to(REPOSITORY)) for page in PAGES]
MARKS = re.compile(r"(?<=<!-- )(.+?)(: begin -->\n)(.*?)(?=<!-- \1: end -->)", re.DOTALL)
RESULTS = REPOSITORY / "results"
MODELS = ("vib", "nib", "squared-vib", "squared-nib", "disenib")
SEEDS = (0, 1, 2)


@cache
def text_of(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


@cache
def committed() -> dict:
    return json.loads(text_of("results/tables.json"))


def anchors(text: str) -> set[str]:
    """What GitHub makes of the headings."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")
            for heading in re.findall(r"^#+ (.+)$", prose, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_anchor_and_picture_is_there(page):
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    missing = []
    for target in targets:
        path, _, anchor = target.partition("#")
        if re.match(r"https?:", target):
            continue
        file = page.parent / path if path else page
        there = file.exists() and (not anchor or anchor in anchors(file.read_text(encoding="utf-8")))
        missing += [] if there else [target]
    assert missing == []


def test_the_readme_is_read_in_ten_minutes_and_names_every_script():
    assert len(text_of("README.md").encode()) <= 9_216
    scripts = [path.name for path in REPOSITORY.glob("*.py")]
    assert scripts and [name for name in scripts if f"`{name}`" not in text_of("README.md")] == []


def test_every_function_beside_an_equation_is_in_the_file_it_is_said_to_be_in():
    found = re.findall(r"\[`(\w+)`\]\(\.\./([\w/]+\.py)\)", text_of("docs/method.md"))
    assert len(found) > 30
    assert [(name, file) for name, file in found
            if not re.search(rf"^(def|class) {name}\b", text_of(file), re.MULTILINE)] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_parses(page):
    for script, rest in re.findall(r"python ([\w/]+\.py)([^`\n#]*)", page.read_text(encoding="utf-8")):
        there = (REPOSITORY / script).exists()
        assert there or page.name in ("extending.md", "python.md"), script  # which have their reader write one
        if there and "/" not in script:
            opt.parse(importlib.import_module(script.removesuffix(".py")).Options, rest.split())  # or it exits
    for target in re.findall(r"\bmake (run|test|\w+(?=`))", page.read_text(encoding="utf-8")):
        assert re.search(rf"^{target}:", text_of("Makefile"), re.MULTILINE), target
    for place in re.findall(r"\.venv/bin/pytest (tests[\w/.]*)", page.read_text(encoding="utf-8")):
        assert (REPOSITORY / place).exists(), place


def test_every_table_between_marks_is_what_the_report_makes():
    text = text_of("README.md")
    assert [name for name, *_ in MARKS.findall(text)] == ["claims", "summary"]
    assert tables.with_tables(MARKS.sub(r"\1\2", text), committed()) == text


def test_the_table_of_faults_is_what_the_tests_try(tmp_path):
    printed = execute(tmp_path, "tests/faults/counts.py")
    assert printed.status == 0 and printed.out.count("\n") > 10
    assert f"<!-- python tests/faults/counts.py -->\n{printed.out}<!-- end -->" in text_of("docs/faults.md")


def test_every_file_of_tests_has_its_line():
    files = [str(path.relative_to(REPOSITORY / "tests")) for path in (REPOSITORY / "tests").rglob("test_*.py")]
    assert [name for name in files if f"[{name}]({name})" not in text_of("tests/README.md")] == []


def test_the_project_table_names_the_packages_that_are_pinned():
    import tomllib

    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    named = project["dependencies"] + [line for extra in project["optional-dependencies"].values() for line in extra]
    pinned = [line for line in text_of("requirements.txt").splitlines() if not line.startswith("#")]
    only_name = [re.match(r"[\w-]+", line).group() for line in named]
    assert only_name == [re.match(r"[\w-]+", line).group() for line in pinned]


# What the prose of README.md and docs/report.md says of the claims, held against the committed runs.


@cache
def evaluation(model: str, seed: int) -> dict:
    return json.loads(text_of(f"results/quant/mnist/{model}/seed{seed}/evaluation.json"))["test"]


def test_claim_1_disenib_compresses_most_and_lies_beyond_the_curve_of_vib_with_either_code():
    figures = committed()["quantitative"]["mnist"]
    assert min(MODELS, key=lambda model: figures[model]["I(X;T), test"]["mean"]) == "disenib"
    assert max(MODELS, key=lambda model: figures[model]["I(Y;T), test"]["mean"]) == "disenib"
    curve = np.array(sorted((point["test"] for point in committed()["sweeps"]["mnist/vib-none"]), key=lambda p: p[1]))
    for seed in SEEDS:
        found = evaluation("disenib", seed)
        for code in ("", "_mean_code"):
            on_the_curve = np.interp(found[f"mi_yt{code}"], curve[:, 1], curve[:, 0])
            assert found[f"mi_xt{code}"] < on_the_curve
        assert found["mi_xt"] > found["mi_xt_mean_code"] and found["mi_yt"] < found["mi_yt_mean_code"]


def test_ceb_s_curve_passes_near_disenib_and_its_lambda_is_read_off_it():
    sampled = {model: committed()["codes"][model]["sample"] for model in ("ceb", "disenib")}
    bound = f"{sampled['disenib'][tables.LOWER_BOUND]['mean']:.2f}"
    told = f"{sampled['disenib']['I(Y;T)']['mean']:.2f}"
    curve = {float(path.parts[-3].split("=")[1]): json.loads(path.read_text(encoding="utf-8"))["test"]
             for path in (REPOSITORY / "results/sweep/mnist/ceb-none").glob("*/seed0/evaluation.json")}
    last = curve[0.316]
    prose = " ".join(text_of("docs/report.md").split())
    assert (f"With λ = 0.316 (one seed) they keep {last['mi_xt']:.2f}, too, "
            f"and are right on {100 * last['accuracy']:.1f} %. Of the label they then tell {last['mi_yt']:.2f} nats by "
            f"I(Y;T) (DisenIB {told}), and by the bound {last['mi_yt_lower_bound']:.2f} ({bound}).") in prose
    least = sampled["disenib"]["accuracy, %"]["mean"]
    chosen = max(value for value, of in curve.items() if 100 * of["accuracy"] >= least)
    assert f"--lambda_kl={chosen}" in METHODS["ceb"].flags


def test_claim_2_on_mean_codes_all_models_are_level_and_on_sampled_ones_disenib_is_level_with_vib():
    of_mean = {model: [evaluation(model, seed)["accuracy_mean_code"] for seed in SEEDS] for model in MODELS}
    for seed in SEEDS:
        assert max(accuracy[seed] for accuracy in of_mean.values()) < 0.005 + min(a[seed] for a in of_mean.values())
    vib, disenib = ([evaluation(model, seed)["accuracy"] for seed in SEEDS] for model in ("vib", "disenib"))
    assert abs(np.mean(vib) - np.mean(disenib)) < 0.005


def test_claim_3_the_usual_fgsm_does_disenib_less_harm_than_the_published_one():
    for seed in SEEDS:
        found = evaluation("disenib", seed)
        assert all(found["fgsm_cross_entropy"][epsilon] > found["fgsm"][epsilon] for epsilon in ("0.2", "0.3"))


def test_claim_3_the_prose_on_strong_attacks_has_the_numbers_of_the_runs():
    runs = [json.loads(text_of(f"results/quant/mnist/disenib/seed{seed}/evaluation-last.json"))["robustness"]
            for seed in SEEDS]
    prose = text_of("docs/report.md").replace("\n", " ")

    def lowest_and_highest(values) -> tuple[float, float]:
        values = [100 * value for value in values]
        return min(values), max(values)

    assert 65 < 100 * np.mean([run["by_attack"]["fgsm_margin"]["0.3"] for run in runs]) < 80  # it breaks a quarter
    assert all(0.15 < run["curve"]["0.3"] < 0.3 for run in runs)  # a hundred steps three quarters
    targeted = [run["on_standing"]["apgd_targeted_dlr"] for run in runs]
    of_standing = []
    for epsilon in ("0.2", "0.3"):
        low, high = lowest_and_highest(of[epsilon]["broken"] / of[epsilon]["attacked"] for of in targeted)
        of_standing.append(f"{low:.0f} to {high:.0f} %")
    assert f"still breaks {of_standing[0]} of what all others had left at 0.2, and {of_standing[1]} at 0.3" in prose
    at_smallest = {model: by_code["mean"]["worst case"]["0.1"]["mean"]
                   for model, by_code in committed()["robustness"].items()}
    order = sorted(at_smallest, key=at_smallest.__getitem__)
    assert set(order[:2]) == {"vib", "squared-vib"} and set(order[2:4]) == {"plain", "ceb"}
    assert abs(at_smallest["plain"] - at_smallest["ceb"]) < APART
    assert order[4:] == ["plain-long", "nib", "squared-nib", "squared-nib-long", "disenib", "pgd-trained"]
    for weight in ("0.00316", "0.01"):  # of squared-NIB, no better than the published one
        where = f"results/sweep/mnist/nib-pow/lambda_kl={weight}/seed0"
        left = json.loads(text_of(f"{where}/evaluation-last-mean-code.json"))["robustness"]["worst_case"]["0.1"]
        assert abs(100 * left - at_smallest["squared-nib"]) < 0.5
    most = max((of["0.1"] for of in targeted), key=lambda counts: counts["broken"])
    assert f"the last ones break at most {most['broken']} of {most['attacked']} images" in prose
    signs = committed()["signs"]["disenib"]["mean"]
    assert [row for row, figure in signs.items() if figure["mean"]] == ["broken by black box or transfer alone, %"]


def test_sampled_codes_withstand_less_at_the_smallest_epsilon_than_mean_codes_of_the_same_networks():
    told = []
    for model, seed in (("vib", 5), ("nib", 5), ("squared-nib", 3), ("ceb", 0)):
        run = f"results/quant/mnist/{model}/seed{seed}/evaluation-last"
        sample, mean = (json.loads(text_of(f"{run}{end}.json"))["robustness"]["worst_case"]
                        for end in ("", "-mean-code"))
        assert sample["0.1"] < mean["0.1"] and sample["0.2"] > mean["0.2"]
        told.append(f"{METHODS[model].title} {100 * sample['0.1']:.1f} and {100 * mean['0.1']:.1f} %")
    prose = " ".join(text_of("docs/report.md").split())
    assert f"{', '.join(told[:-1])} and {told[-1]} (a seed each" in prose


def test_claim_4_on_mean_codes_nib_detects_noise_better_and_disenib_is_last_on_fashion_mnist():
    def order(outside: str, code: str) -> list[str]:
        return sorted(MODELS, key=lambda model: committed()["detection"][model][outside][code]["mean"])

    assert set(order("gauss", "mean")[:2]) == {"nib", "squared-nib"}
    assert order("gauss", "sample")[0] == "disenib"
    distance = {model: committed()["scores"][model]["fashion_mnist"]["class_means"]["mean"] for model in MODELS}
    assert min(distance, key=distance.__getitem__) == "disenib"
    assert order("fashion_mnist", "mean")[-1] == "disenib" and order("fashion_mnist", "sample")[2] == "disenib"


def test_the_prose_on_tables_of_both_codes_and_of_other_scores_is_what_they_show():
    codes, bound, ece = committed()["codes"], tables.LOWER_BOUND, "expected calibration error, %"

    def mean(model: str, code: str, row: str) -> float:
        return codes[model][code][row]["mean"]

    assert min(MODELS, key=lambda model: mean(model, "mean", bound)) == "disenib"
    assert mean("plain-long", "mean", bound) < mean("plain", "mean", bound)
    for code in ("sample", "mean"):
        assert max(MODELS, key=lambda model: mean(model, code, ece)) == "disenib"
    assert mean("squared-nib-long", "sample", ece) > mean("disenib", "sample", ece)
    several = [model for model, by_code in codes.items() if len(by_code["mean"]["accuracy, %"]["seeds"]) > 1]
    assert max(several, key=lambda model: mean(model, "mean", "accuracy, %")) == "pgd-trained"
    plain = mean("plain", "mean", "accuracy, %")
    assert all(plain < mean(model, "mean", "accuracy, %") < plain + 0.35 for model in MODELS)
    assert not any(mean(model, "sample", "accuracy, %") > plain for model in MODELS)

    sampled = committed()["scores of sampled codes"]
    by = {score: {model: sampled[model]["gauss"][score]["mean"] for model in (*MODELS, "ceb")}
          for score in ("energy", "max_softmax", "entropy")}
    assert by["energy"]["disenib"] < by["energy"]["vib"] / 2
    for score in ("max_softmax", "entropy"):
        ours = sampled["disenib"]["gauss"][score]
        assert min(by[score], key=by[score].__getitem__) == "ceb"
        assert by[score]["vib"] - ours["mean"] < ours["std"]


def test_claim_5_the_style_code_tells_of_the_class_on_mnist_and_sprites_and_not_on_shapes():
    for data in ("mnist", "sprites", "shapes"):
        found = committed()["disentangling"][data]["test"]
        above = found["label from the style code, %"]["mean"] - found["label by chance, %"]["mean"]
        assert (above > 5) == (data != "shapes")
    shapes = committed()["disentangling"]["shapes"]["test"]
    assert shapes["swaps against the true image, MSE"]["mean"] > 10 * shapes["reconstructions, MSE"]["mean"]


def test_no_figure_is_far_from_the_paper_and_the_quoted_draws_are_those_of_the_files():
    figures = committed()["quantitative"]["mnist"]
    assert not any(figure.get("off") for model in MODELS for figure in figures[model].values())
    prose = text_of("docs/report.md").replace("\n", " ")
    draws = list(csv.DictReader(text_of("results/authors-program.csv").splitlines()))
    vib = [draw["fpr_at_95_tpr"] for draw in draws if draw["model"] == "vib"]
    nib = [draw["fpr_at_95_tpr"] for draw in draws if draw["model"] == "nib"]
    assert f"it gave VIB {', '.join(vib[:-1])} and {vib[-1]} %" in prose and f"and NIB {nib[0]} " in prose
    first = {model: [row for row, figure in figures[model].items() if "published" in figure and tables.is_off(
        [figure["seeds"][str(seed)] for seed in SEEDS], figure["published"])] for model in ("vib", "squared-vib")}
    assert {model: len(rows) for model, rows in first.items()} == {"vib": 3, "squared-vib": 4}


def test_generated_pages_have_a_space_between_sentences():
    for page in ("docs/report.md", "results/README.md"):
        assert not re.findall(r"[a-z%)]\.[A-Z][a-z]", text_of(page))


def test_the_estimator_s_outputs_part_again_in_two_of_three_seeds():
    largest = []
    for seed in SEEDS:
        lines = map(json.loads, text_of(f"results/quant/mnist/disenib/seed{seed}/metrics.jsonl").splitlines())
        late = [line for line in lines if line["step"] >= tables.LATE and "train/output_real" in line]
        largest.append(max(abs(line[f"train/output_{pairs}"]) for line in late for pairs in ("real", "fake")))
    assert sorted(value > 0.2 for value in largest) == [False, True, True] and min(largest) < 0.05


def test_without_clustering_the_outputs_of_all_disentangling_runs_stay_at_0():
    runs = [*RESULTS.glob("disentangling/*/disenib/seed*/metrics.jsonl")]
    assert len(runs) == 9
    for run in runs:
        late = [line for line in map(json.loads, run.read_text().splitlines()) if line["step"] >= tables.LATE]
        outputs = [abs(line[key]) for line in late for key in line if key.startswith("train/output_")]
        assert outputs and max(outputs) < 0.06


def test_what_estimators_see_of_frozen_codes_is_quoted_from_its_file():
    found: dict = {}
    near, pulls = {}, {}
    for line in csv.DictReader(text_of("results/frozen-codes.csv").splitlines()):
        found.setdefault((line["pairs"], line["spectral_norm"]), []).append(f"{float(line['apart']):.2f}")
        near[line["run"]] = line["near_classes"]
        if (line["pairs"], line["spectral_norm"]) == ("as trained", "yes"):
            pulls[line["run"]] = f"{float(line['pull']):.2f}"
    rows = (
        ("as trained", "yes"), ("clustering alone", "yes"), ("clustering alone without S", "yes"),
        ("clustering within classes", "yes"), ("without clustering", "yes"), ("without clustering", "no"),
    )
    section = text_of("docs/report.md").split("leaves zero, and")[1].split("An estimator at 0")[0]
    quoted = [line.strip("| ").split(" | ")[1:] for line in section.splitlines() if line.startswith("| ")]
    seeds = [run.removeprefix("disenib ") for run in near]
    assert quoted == [seeds, *map(found.__getitem__, rows), [*near.values()], [*pulls.values()]]


def test_the_seed_whose_estimator_stays_at_zero_is_the_best_of_the_three():
    measured = [json.loads(text_of(f"results/quant/mnist/disenib/seed{s}/evaluation-last.json")) for s in SEEDS]
    robust = [f"{100 * each['robustness']['worst_case']['0.2']:.1f}" for each in measured]
    accepted = [f"{100 * each['ood']['fashion_mnist']['fpr_at_95_tpr']:.1f}" for each in measured]
    prose = " ".join(text_of("docs/report.md").split())
    for first, second, third in (robust, accepted):
        assert re.search(rf"{first} %[\w -]* \(the others {second} and {third}\)", prose)
    assert max(robust, key=float) == robust[0] and min(accepted, key=float) == accepted[0]


def test_the_times_of_the_readme_are_those_of_the_committed_runs():
    def minutes(where: str, device: str) -> list[float]:
        return [
            sum(run["seconds"].values()) / 60 for run in committed()["runs"]
            if re.fullmatch(where, run["where"]) and device in run["machine"]["device"]
        ]

    readme = text_of("README.md")
    on_one_core = minutes("quant/mnist/.*(vib|nib|ceb)/.*", "cpu")
    assert "trains for 10 to 15 minutes on one core" in readme
    assert minutes("quant/mnist/vib/.*", "cpu") and 10 < np.median(on_one_core) < 15  # some shared their core
    assert "near 97.5 % accuracy" in readme and abs(evaluation("vib", 0)["accuracy"] - 0.975) < 0.005
    assert "hours, on an H100 8 minutes" in readme
    assert {round(duration) for duration in minutes("quant/mnist/disenib/.*", "H100")} == {8}
