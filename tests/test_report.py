"""The report: from the committed results, and from a fixture of finished, unfinished and missing runs."""

import base64
import html
import io
import json
import re
import shutil
import statistics
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import CHROMIUM, in_chromium
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from custom_pkg.errors import UserError
from custom_pkg.pictures import captioned
from experiments.catalogue import ABLATIONS, METHODS
from reporting import figures, own_runs, reproduction, tables
from reporting.collect import Place, collect, read_runs, sweeps, thinned
from reporting.figures import draw_all, noise_point
from reporting.grid import QUICK_LABEL
from reporting.report import build_tables, report

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"


def committed() -> dict:
    return json.loads((RESULTS / "tables.json").read_text())


def test_the_committed_tables_are_those_of_the_committed_runs():
    found = build_tables(read_runs(RESULTS), None)
    assert json.loads(json.dumps(found)) == committed()
    assert (RESULTS / "tables.csv").read_text() == tables.to_csv(found)
    assert (RESULTS / "tables.tex").read_text() == tables.to_latex(found)


def test_a_cell_is_mean_and_std_over_the_seeds_beside_the_paper_s_figure():
    files = sorted((RESULTS / "quant/mnist/vib").glob("seed*/evaluation.json"))
    assert len(files) >= 3
    values = [100 * json.loads(file.read_text())["test"]["accuracy"] for file in files]
    [row] = [row for row in tables.comparison(committed(), "mnist")[1] if row[0] == "accuracy test, %"]
    assert row[1] == f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} (97.59)"
    figure = committed()["quantitative"]["mnist"]["vib"]["accuracy test, %"]
    assert figure["difference"] == pytest.approx(statistics.mean(values) - 97.59)


def test_every_published_figure_has_its_row():
    published = {row: {} for row in tables.ROWS}
    for model in ("vib", "nib", "squared-vib", "squared-nib", "disenib"):
        flat = tables.flatten(METHODS[model].published["mnist"])
        for row, key in tables.ROWS.items():
            published[row][model] = flat[tables.key_for(model, key)]
        assert {tables.key_for(model, key) for key in tables.ROWS.values()} == flat.keys()
    assert published["I(X;T), test"]["disenib"] == 2.40 and published["OOD AUROC, %"]["vib"] == pytest.approx(0.957)


def test_of_few_seeds_a_dagger_needs_more_than_three_stds_and_more_than_ten_percent():
    assert tables.is_off([11.5, 12.0, 12.5], 10.0)
    assert not tables.is_off([11.3, 12.0, 12.7], 10.0)  # within 3 stds
    assert not tables.is_off([10.89, 10.9, 10.91], 10.0)  # within 10 %
    assert tables.is_off([12.0], 10.0)  # one seed: 10 % decides


def test_from_five_seeds_on_a_prediction_interval_decides():
    low, high = tables.prediction_interval([1.0, 2.0, 3.0, 4.0, 5.0])  # s² = 2.5; t(0.975, 4) = 2.7764, from a table
    assert (low, high) == pytest.approx((3 - 2.7764 * 3**0.5, 3 + 2.7764 * 3**0.5), abs=1e-3)
    assert not tables.is_off([1, 2, 3, 4, 5], 7.8) and tables.is_off([1, 2, 3, 4, 5], 7.83)
    assert not tables.is_off([100.0] * 5, 100.0) and tables.is_off([100.0] * 5, 99.99)
    figure = tables.over_seeds({str(seed): value / 100 for seed, value in enumerate(range(1, 6))}, 0.09, scale=100)
    assert figure["off"] and figure["interval"] == pytest.approx([low, high])
    few = tables.over_seeds({"0": 1.0, "1": 2.0}, 9.0)
    assert "interval" not in few and "fewer than 5" in tables.off_by([few]) and "interval" not in tables.off_by([few])
    assert "interval" in tables.off_by([figure]) and "fewer" not in tables.off_by([figure])


def test_one_more_draw_falls_into_the_interval_as_often_as_it_says():
    random = np.random.default_rng(0)
    draws = random.normal(3, 2, (2000, 11))
    inside = 0
    for *seen, new in draws.tolist():
        low, high = tables.prediction_interval(seen)
        inside += low <= new <= high
    assert inside / 2000 == pytest.approx(0.95, abs=0.015)


def test_thinned_logs_keep_their_first_and_last_line():
    lines = [str(i) for i in range(2000)]
    kept = thinned(lines)
    assert len(kept) == len(set(kept)) == 300 and (kept[0], kept[-1]) == ("0", "1999")
    assert thinned(lines[:300]) == lines[:300]


def disentangling_run(folder: Path) -> None:
    """A finished run of the disentangling kind, with as little as the report takes."""
    (folder / "disentangling").mkdir(parents=True)
    config = json.loads((RESULTS / "quant/mnist/vib/seed0/config.json").read_text())
    config["command"] = "python train_disenib_shapes.py --desc=disentangling/shapes/disenib --precision=bf16"
    config["options"] = {"steps": 20_000, "precision": "bf16"}
    config["data"] |= {"name": "shapes", "n_classes": 3}
    (folder / "config.json").write_text(json.dumps(config))
    evaluation = {"epoch": 3, "step": 20_000, "test": {"swap_psnr": 21.5, "style_to_factor_accuracy": {"x": 0.25}}}
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    line = {"step": 10, "train/loss_rec": 0.1, "train/loss_dec": 1.0, "train/output_real": 1, "train/output_fake": -1}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line | {"step": 10 * i}) + "\n" for i in range(1, 900)))
    for name in ("held-out", "fixed-step000500", "fixed-step020000", "interpolation"):
        picture = captioned(np.zeros((9, 30, 3), np.uint8), ["what it shows"])
        picture.save(folder / "disentangling" / f"{name}.png")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A report from runs in STORAGE: VIB's seed 1, Shapes and a sweep finished, VIB's seed 2 begun, NIB shortened."""
    root = tmp_path_factory.mktemp("report")
    source, quant = root / "experiments", RESULTS / "quant/mnist"
    later = shutil.ignore_patterns("evaluation-*")  # what evaluate.py has measured
    shutil.copytree(quant / "vib/seed1", source / "quant/mnist/vib/seed1", ignore=later)
    shutil.copytree(quant / "vib/seed2", source / "quant/mnist/vib/seed2")
    (source / "quant/mnist/vib/seed2/evaluation.json").unlink()
    nib = Path(shutil.copytree(quant / "nib/seed0", source / "quant/mnist/nib/seed0"))
    config = json.loads((nib / "config.json").read_text())
    config["options"] |= {"epochs": 3, "eval_batch_size": 100}  # the latter does not make it another experiment
    (nib / "config.json").write_text(json.dumps(config))
    curve = {"roc": [[0, 0], [0.1, 0.9], [1, 1]], "range": [0.1, 0.11], "inside": [0, 10], "outside": [10, 0]}
    (source / "quant/mnist/vib/seed1/detection-curves.json").write_text(json.dumps({"step": 1, "gauss": curve}))
    for value, other in (("0.001", "vib"), ("0.1", "nib")):
        point = Path(shutil.copytree(quant / other / "seed0", source / f"sweep/mnist/vib-none/lambda_kl={value}/seed0"))
        config = json.loads((point / "config.json").read_text())
        config["command"] = f"python train_lagrangian.py --model=vib --dataset=mnist --lambda_kl={value}"
        config["options"] |= {"model": "vib", "lambda_kl": float(value)}
        (point / "config.json").write_text(json.dumps(config))
    disentangling_run(source / "disentangling/shapes/disenib/seed0")
    (root / "docs").mkdir()
    (root / "README.md").write_text("before\n<!-- summary: begin -->\nold\n<!-- summary: end -->\nafter: σ\n", "utf-8")
    (root / "printed").write_text(report(source, root / "results", readme=root / "README.md"))
    return root


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are made and not written, where a test asks which there are: drawing takes seconds."""
    monkeypatch.setattr(figures, "as_drawing", lambda *_: None)
    for name in ("draw", "print_figure"):
        monkeypatch.setattr(FigureCanvasAgg, name, lambda *_, **__: None)


def test_robustness_stands_by_method_code_and_attack(tmp_path, undrawn):
    for seed, worst in ((1, 0.5), (2, 0.7), (0, None)):  # of seed 0 there is a trial only
        where = f"quant/mnist/vib/seed{seed}"
        measured_later = shutil.ignore_patterns("evaluation-*")
        folder = Path(shutil.copytree(RESULTS / where, tmp_path / where, ignore=measured_later))
        trial = {"n_images": 10, "images": "10 of the test set", "worst_case": {"0.1": 0.0}}
        (folder / "evaluation-last-mean-code.json").write_text(json.dumps({"robustness": trial}))
        if worst is not None:
            found = {
                "n_images": 10, "images": "test set", "clean_accuracy": 0.9,
                "worst_case": {"0.1": worst}, "curve": {"0.1": worst, "2.0": 0},
                "worst_case_stderr": {"0.1": worst / 10}, "signs": {
                    "zero_gradient_margin_float32": worst / 5, "black_box_only": {"0.1": 0.1, "0.2": worst},
                    "many_steps_minus_one_step": {"margin": {"0.1": -worst}},
                },
                "by_attack": dict.fromkeys(("apgd_cross_entropy", "pgd_margin"), {"0.1": worst + 0.05}) | {
                    "apgd_dlr": {"0.1": worst + 0.1}, "fgsm_margin": {"0.1": worst + 0.2}},
                "on_standing": {"square": {"0.1": {"attacked": 2, "broken": 1}}},
            }
            (folder / "evaluation-last-mean-code.json").write_text(json.dumps({"robustness": found}))
    runs = read_runs(tmp_path)
    found = tables.build(runs, None, ["mnist"])
    header, rows = tables.robustness(found)
    assert header == ["robust accuracy, %", "VIB, mean"]
    assert [row for row in rows if row[1] != tables.ABSENT] == [
        ["worst case, ε = 0.1", "60.0 ± 14.1"], ["its standard error over images, ε = 0.1", "6.0 ± 1.4"],
        ["apgd cross entropy, ε = 0.1", "65.0 ± 14.1"], ["pgd margin, ε = 0.1", "65.0 ± 14.1"],
        ["apgd dlr, ε = 0.1", "70.0 ± 14.1"], ["fgsm margin, ε = 0.1", "80.0 ± 14.1"],
    ]
    assert tables.worst_cases(found).rows == [["VIB", "not run", "60.0 ± 14.1", *["not run"] * 5]]
    header, rows = tables.signs(found)
    assert header == ["share of the images", "VIB, mean"]
    assert [row for row in rows if row[1] != tables.ABSENT] == [
        ["no gradient of the margin in float32, %", "12.0 ± 2.8"],
        ["broken by black box or transfer alone, %", "60.0 ± 14.1"],  # the most, over ε
        ["lead of one step over PGD, %", "0.0 ± 0.0"],  # PGD leads
    ]
    line = ',mnist,vib,"robust accuracy, apgd dlr, ε = 0.1, mean code, %",70,14.1421,,,2,1 2\n'
    assert line in tables.to_csv(found)
    drawn = {figure.path.stem: figure for figure in figures.draw_all(runs, ["mnist"], tmp_path / "figures", None)}
    assert "worst of all attacks" in drawn["worst-case"].text
    left, right = figures.worst_case([run for run in runs if run.seed]).axes  # FGSM above, the worst case, APGD
    shown = [
        [(list(line.get_xdata()), [round(y) for y in line.get_ydata()]) for line, *_ in axes.containers]
        for axes in (left, right)
    ]
    assert shown == [[([0, 0.1], [90, 80]), ([0, 0.1], [90, 60])], [([0, 0.1, 2], [90, 60, 0])]]


def test_the_short_table_of_worst_cases_has_the_cells_of_the_long_one():
    header, rows = tables.robustness(committed())
    long = {(column, row[0]): row[i] for row in rows for i, column in enumerate(header)}
    for method, one_step, *worst in tables.worst_cases(committed()).rows:
        assert one_step == long[f"{method}, mean", "fgsm margin, ε = 0.3"]
        for i, cell in enumerate(worst):
            code, epsilon = ("mean", "sample")[i // 3], ("0.1", "0.2", "0.3")[i % 3]
            assert cell == long.get((f"{method}, {code}", f"worst case, ε = {epsilon}"), cell) and cell


def test_curves_of_the_paper_s_methods_come_first_and_those_of_most_points():
    assert [name for _, name, _ in sweeps(read_runs(RESULTS))] == ["vib-none", "vib-pow", "nib-pow", "ceb-none"]


def test_relations_are_rank_correlations_over_enough_runs():
    [run] = [run for run in read_runs(RESULTS) if run.where == "quant/mnist/vib/seed3"]
    rates, stds, epochs = (0.1, 0.4, 0.2, 0.3, 0.5), (1, 16, 2, 9, 100), (50, 40, 30, 20, 10)  # of the same order
    runs = [
        replace(run, seed=i, others={"last": {"ood/gauss/encoder_std": std, "ood/gauss/fpr_at_95_tpr": rate}},
                evaluation=run.evaluation | {"epoch": epoch, "test/mi_xt": -rate})
        for i, (rate, std, epoch) in enumerate(zip(rates, stds, epochs, strict=True))
    ]
    found = tables.build(runs, "made up", ["mnist"])["relations"]["vib"]
    assert list(found) == list(tables.RELATIONS)
    assert [round(value, 3) for value in found.values()] == [1, -0.7, 0.7]  # 1 − 6 Σ d² / (n (n² − 1))
    assert tables.build(runs[:4], "made up", ["mnist"])["relations"] == {}


def test_the_reproduction_report_is_that_of_the_committed_runs_and_says_what_is_missing(built):
    text = (ROOT / "docs/report.md").read_text(encoding="utf-8")
    picture = r"\|? ?!\[.*\n(?:\|-.*\n)?\n.*\n\n"  # or two, with the caption
    drawn = [(ROOT / "docs" / path).resolve() for path in re.findall(r"!\[.*?\]\((.*?)\)", text)]
    assert drawn and all(path.exists() for path in drawn)
    again = reproduction.render(committed(), [figures.Figure("", path, "", print) for path in drawn], ROOT / "docs")
    assert re.sub(picture, "", text) == re.sub(picture, "", again)
    for claim in committed()["claims"]:
        more = f"{claim['more']}\n" if claim["more"] else ""
        assert text.count(f"**Verdict: {claim['verdict']}** {claim['because']}\n\n{more}") == 1
    few = (built / "docs/report.md").read_text(encoding="utf-8")  # of runs of VIB alone
    absent = ", ".join(method.title for name, method in METHODS.items() if name != "vib")
    for gap in (f"{absent} on MNIST", "ten seeds of VIB", "attacks on mean codes of VIB", "10 of the 10 ablations"):
        assert f"\n| {gap}" in few
    found = committed() | {"ablations": dict.fromkeys(ABLATIONS, {})}
    gaps = [what for what, _ in reproduction.missing(found)]
    assert gaps and not any(f"of the {len(ABLATIONS)} ablations" in gap for gap in gaps)
    assert "the IB curve of VIB" not in gaps and "\n| the IB curve of NIB" in few
    assert sum(float(row[3]) for row in reproduction.cost(found).rows) > 10


def test_what_is_missing_is_named_by_seed_and_of_attacks_three_seeds_are_enough():
    def gaps(n_run: int, n_attacked: int) -> list[str]:
        seeds = lambda n: {"mean": 0.0, "seeds": dict.fromkeys(map(str, range(n)), 0.0)}  # noqa: E731
        found = dict.fromkeys(("detection", "scores", "ablations", "disentangling", "probes", "sweeps"), {}) | {
            "quantitative": {"mnist": {"vib": {"last epoch": seeds(n_run)}}},
            "codes": {"vib": {"sample": {"I(X;T)": seeds(n_run)}, "mean": {"I(X;T)": seeds(1)}}},
            "robustness": {"vib": {"mean": {"worst case": {"0.1": seeds(n_attacked)}}}},
        }
        return [what for what, _ in reproduction.missing(found) if "VIB (" in what]

    assert gaps(2, 1) == ["informations of the mean codes of VIB (seed 1)", "attacks on mean codes of VIB (seed 1)"]
    assert gaps(5, 1)[1] == "attacks on mean codes of VIB (seeds 1, 2)"
    assert gaps(5, 3) == ["informations of the mean codes of VIB (seeds 1 to 4)"]


def test_what_evaluate_py_measured_later_stands_in_its_tables_and_in_the_figure_of_the_noise(tmp_path, undrawn):
    def place(where: str, like: str, **files: dict) -> None:
        folder = Path(shutil.copytree(RESULTS / like, tmp_path / where, ignore=shutil.ignore_patterns("evaluation-*")))
        for name, content in files.items():
            (folder / f"evaluation-{name.replace('_', '-')}.json").write_text(json.dumps(content))

    rate = {"fpr_at_95_tpr": 0.25, "encoder_std": 0.7, "fpr_at_95_tpr_by": {"energy": 0.75}}
    rate_of_mean = {"fpr_at_95_tpr": 0.0625, "fpr_at_95_tpr_by": {"energy": 0.5, "class_means": 0.125}}
    held_out = {"ood": {"held_out": {"fpr_at_95_tpr": 0.75}}}
    place("quant/mnist/vib/seed0", "quant/mnist/vib/seed1", last={"ood": {"gauss": rate}},
          last_mean_code={"ood": {"gauss": rate_of_mean}, "test": {"mi_xt_mean_code": 3.5}})
    place("held-out/mnist/vib/seed0", "quant/mnist/vib/seed0", last=held_out)
    for name, spared in (("default", 0.0), ("no-clustering", 0.25)):
        place(f"ablations/mnist/{name}/seed0", "quant/mnist/disenib/seed0",
              last={"test": {"style_to_label_mlp_accuracy": 0.5 + spared}})
    runs = read_runs(tmp_path)
    found = tables.build(runs, None, ["mnist"])
    [row] = tables.detection(found)[1]
    assert row == ["VIB", "25.0", "6.2", "75.0", tables.ABSENT]
    header, [row] = tables.scores(found)
    assert row[:2] == ["VIB, Gaussian noise", "6.2"]
    by_score = dict(zip(header, row, strict=True))
    assert (by_score["energy"], by_score["class means"], by_score["entropy"]) == ("50.0", "12.5", "–")
    [sampled] = tables.scores(found, code="sample").rows
    assert sampled[:2] == ["VIB, Gaussian noise", "25.0"] and sampled[header.index("energy")] == "75.0"
    header, [row] = tables.codes(found)
    by_column = dict(zip(header, row, strict=True))
    assert by_column["I(X;T); mean"] == "3.50" and by_column["I(Y;T); mean"] == tables.ABSENT
    assert float(by_column["accuracy, %; mean"]) > float(by_column["accuracy, %; sample"])
    header, rows = tables.ablations(found)
    probe = {row[0]: row[header.index("label from the style code, MLP, %")] for row in rows}
    assert probe == {"nothing changed": "50.00", "without clustering": "75.00"}
    [vib] = [run for run in runs if run.kind == "quant"]
    assert noise_point(vib) == [0.7, 25.0]
    for runs, there in (([vib], False), ([replace(vib, where=f"{vib.where}{i}") for i in range(3)], True)):
        drawn = draw_all(runs, ["mnist"], tmp_path / "figures", None)
        assert ("detection-and-noise" in [figure.path.stem for figure in drawn]) == there  # one mark shows nothing


def test_the_readme_gets_the_tables_between_its_marks(built):
    header, rows = tables.comparison(json.loads((built / "results/tables.json").read_text()), "mnist", absent_too=False)
    short = [row for row in rows if row[0] in tables.SUMMARY]
    assert len(short) == len(tables.SUMMARY) == 6
    table = tables.markdown(header, short)
    shown = (built / "README.md").read_text(encoding="utf-8")
    assert shown == f"before\n<!-- summary: begin -->\n{table}\n<!-- summary: end -->\nafter: σ\n"
    assert f"new numbers in {built / 'README.md'}" in (built / "printed").read_text()


def test_runs_that_are_absent_unfinished_or_not_the_published_ones_show_as_not_run(built):
    found = json.loads((built / "results/tables.json").read_text())
    assert found["quantitative"]["mnist"]["nib"] == found["quantitative"]["mnist"]["disenib"] == {}
    header, rows = tables.comparison(found, "mnist")
    for row in rows:
        assert row[2:] == ["not run"] * 4, row
    seed1 = json.loads((RESULTS / "quant/mnist/vib/seed1/evaluation.json").read_text())
    assert rows[0][1] == f"{seed1['train']['mi_xt']:.2f} (3.90)"  # of one seed, so without a std
    assert found["disentangling"]["mnist"] == {}
    assert "MNIST, Sprites: not run." in (built / "results/README.md").read_text()
    csv = (built / "results/tables.csv").read_text().splitlines()
    assert sum(line.endswith(",,,,,0,not run") for line in csv) == 4 * len(tables.ROWS)


def test_the_report_says_which_run_it_left_out_and_why(built):
    printed = (built / "printed").read_text()
    assert "left out quant/mnist/nib/seed0: made with --epochs=3\n" in printed
    assert "collected quant/mnist/vib/seed1\n" in printed and "seed2" not in printed
    assert not (built / "results/quant/mnist/nib").exists()


def test_the_numbers_and_pictures_of_a_disentangling_run_are_there(built):
    folder = built / "results/disentangling/shapes/disenib/seed0"
    assert (folder / "fixed.png").exists() and len((folder / "metrics.jsonl").read_text().splitlines()) == 300
    text = (built / "results/README.md").read_text()
    assert "| swaps against the true image, PSNR, dB | 21.50 |" in text
    assert "| x from the style code, % | 25.00 |" in text
    assert "(disentangling/shapes/disenib/seed0/held-out.png)" in text


def test_curves_of_the_paper_s_models_come_before_those_of_references():
    models = [name.partition("-")[0] for _, name, _ in sweeps(read_runs(RESULTS))]
    assert "ceb" in models and models == sorted(models, key=lambda model: METHODS[model].reference)


def test_references_and_own_runs_have_columns_and_marks_and_a_sweep_of_any_option_its_curve(
    built, tmp_path, monkeypatch
):
    source = shutil.copytree(built / "experiments", tmp_path / "experiments")
    plain = Path(shutil.copytree(RESULTS / "quant/mnist/vib/seed0", source / "quant/mnist/plain/seed0"))
    config, evaluation = (json.loads((plain / f"{name}.json").read_text()) for name in ("config", "evaluation"))
    config["options"] |= {"model": "plain"}
    for split in ("train", "test"):
        evaluation[split] = {
            key: value for key, value in evaluation[split].items() if not key.startswith(("mi_xt", "accuracy"))
        } | {"mi_xt_deterministic": 9.21, "mi_yt_mean_code": 2.2, "accuracy": 0.5, "accuracy_mean_code": 0.97}
    for name, content in (("config", config), ("evaluation", evaluation)):
        (plain / f"{name}.json").write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    for kind, run in (("quant/mnist/vib", "mine/vib/seed7"), ("disentangling/shapes/disenib", "mine/shapes/seed0")):
        [seed] = (built / "experiments" / kind).glob("seed[01]")
        shutil.copytree(seed, tmp_path / "STORAGE/experiments" / run)
    nothing = source / "sweep/mnist/vib-none/lambda_kl=0/seed0"
    shutil.copytree(source / "sweep/mnist/vib-none/lambda_kl=0.001/seed0", nothing)
    config = json.loads((nothing / "config.json").read_text())
    config["options"]["lambda_kl"] = 0.0
    (nothing / "config.json").write_text(json.dumps(config))
    for value in (4, 8):
        point = source / f"sweep/mnist/vib-none/emb_dim={value}/seed0"
        shutil.copytree(RESULTS / "quant/mnist/vib/seed0", point)
        swept = json.loads((point / "config.json").read_text())
        swept["options"]["emb_dim"] = value
        (point / "config.json").write_text(json.dumps(swept))
    printed = report(source, tmp_path / "results", own=["mine/vib", "mine/shapes"])
    assert "collected quant/mnist/plain/seed0" in printed and "mine/vib" not in METHODS
    page, text = ((tmp_path / "results" / name).read_text() for name in ("report.html", "README.md"))
    assert '["mine/vib, seed 7","I(X;T), nats"' in page  # a mark of the information plane
    assert "![Shapes, mine/shapes, seed 0](own/mine/shapes/seed0/held-out.png)" in text
    assert "mine/shapes, images that training never saw |" in text
    assert "![VIB, over emb_dim, MNIST](figures/sweep-mnist-vib-none-emb_dim.png)" in text
    found = json.loads((tmp_path / "results/tables.json").read_text())
    assert [point["emb_dim"] for point in found["sweeps"]["mnist/vib-none/emb_dim"]] == [4, 8]
    assert [point["lambda_kl"] for point in found["sweeps"]["mnist/vib-none"]] == [0, 0.001, 0.1]
    assert (tmp_path / "results/figures/ib-curve-mnist-vib-none.png").exists()
    with own_runs.shown_as_methods(own_runs.read(tmp_path / "results", ["mine/vib"])):
        header, rows = tables.comparison(found, "mnist")
    vib, own = (rows[0][header.index(name)] for name in ("VIB", "mine/vib"))
    assert vib == f"{own} (3.90)" and len(header) == 8
    column = {row[0]: row[header.index("plain network")] for row in rows}
    assert (column["I(X;T), test"], column["I(Y;T), test"], column["accuracy test, %"]) == ("–", "2.20", "97.00")
    header, rows = tables.one_model(found, "mnist", "plain")
    assert {len(row) for row in rows} == {len(header)} and "paper" not in header
    assert "have no place in it: plain network." in (tmp_path / "results/README.md").read_text()


def test_a_run_of_one_s_own_that_is_called_like_a_method_is_none_of_it(built, tmp_path):
    shutil.copytree(built / "experiments/quant/mnist/vib/seed1", tmp_path / "own/vib/seed1")
    runs = own_runs.read(tmp_path, ["vib"])
    with own_runs.shown_as_methods(runs):
        assert [METHODS[run.name].title for run in runs] == ["own vib"] and METHODS["vib"].published
    assert "vib" in METHODS and "own vib" not in METHODS


@pytest.mark.parametrize("file, content", [
    ("evaluation.json", {}), ("evaluation.json", {"epoch": 1, "step": 1, "test": {"accuracy": "high"}}),
    ("config.json", {"data": "x", "options": []}), ("config.json", {"data": {"name": "mnist"}, "options": {}}),
    ("metrics.jsonl", None),
])
def test_a_damaged_run_of_one_s_own_is_refused_by_its_name_and_a_copy_beside_it_is_passed_over(
    built, tmp_path, monkeypatch, file, content
):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "STORAGE/experiments/mine/seed1"
    shutil.copytree(built / "experiments/quant/mnist/vib/seed1", folder)
    shutil.copytree(folder, folder.with_name("seed1-backup"))
    own_runs.check("mine", [])
    (folder / file).write_text("{" if content is None else json.dumps(content))
    with pytest.raises(UserError, match="--with=mine: the files of STORAGE/experiments/mine/seed1 are damaged"):
        own_runs.check("mine", [])


def test_a_report_built_twice_is_the_same_to_the_byte_and_needs_no_storage(built):
    def files():
        return {path: path.read_bytes() for path in (built / "results").rglob("*") if path.is_file()}

    before = files()
    report(built / "nothing", built / "results")
    assert files() == before


def test_a_run_that_is_made_anew_takes_the_place_of_the_old_one_and_of_all_its_files(built, tmp_path):
    source, target = shutil.copytree(built / "experiments", tmp_path / "experiments"), tmp_path / "results"
    run = "quant/mnist/vib/seed1"
    collect(source, target)
    (target / run / "evaluation-best.json").write_text("{}")
    assert collect(source, target)[0] == "left out quant/mnist/nib/seed0: made with --epochs=3"
    assert (target / run / "evaluation-best.json").exists()
    shutil.copyfile(RESULTS / "quant/mnist/vib/seed2/evaluation.json", source / run / "evaluation.json")
    assert f"collected {run}, in place of other numbers" in collect(source, target)
    assert not (target / run / "evaluation-best.json").exists()


def test_of_the_same_run_what_was_measured_before_and_is_not_there_now_stays(built, tmp_path):
    source, target = shutil.copytree(built / "experiments", tmp_path / "experiments"), tmp_path / "results"
    ours, theirs = (root / "quant/mnist/vib/seed1/evaluation-last.json" for root in (source, target))
    attacked = {"n_images": 1000, "by_attack": {"fgsm_margin": {}, "square": {}}}
    ours.write_text(json.dumps({"checkpoint_sha256": "a", "test": {"mi_xt": 3.0}, "robustness": attacked}))
    curves, kept_curves = (file.with_name("detection-curves-last.json") for file in (ours, theirs))
    curves.write_text(json.dumps({"checkpoint_sha256": "a", "gauss": {}}))
    collect(source, target)
    curves.write_text(json.dumps({"checkpoint_sha256": "a", "uniform": {}}))
    few = {"n_images": 3, "by_attack": {"fgsm_margin": {}}}
    ours.write_text(json.dumps({"checkpoint_sha256": "a", "test": {"accuracy": 0.5}, "robustness": few}))
    collect(source, target)
    kept = json.loads(theirs.read_text())
    assert kept["test"] == {"mi_xt": 3.0, "accuracy": 0.5} and kept["robustness"] == attacked
    assert {"gauss", "uniform"} < json.loads(kept_curves.read_text()).keys()
    ours.write_text(json.dumps({"checkpoint_sha256": "b", "test": {"accuracy": 0.6}}))
    collect(source, target)
    assert theirs.read_bytes() == ours.read_bytes()


def test_a_folder_copied_as_another_seed_is_not_counted_as_one(built, tmp_path):
    source = shutil.copytree(built / "experiments", tmp_path / "experiments")
    shutil.copytree(source / "quant/mnist/vib/seed1", source / "quant/mnist/vib/seed5")
    assert "left out quant/mnist/vib/seed5: made with --rand_seed=1" in collect(source, tmp_path / "results")


@pytest.mark.parametrize("file", ["evaluation.json", "metrics.jsonl", "times.json"])
def test_a_damaged_run_is_left_out_and_what_was_collected_before_stays(built, tmp_path, file):
    source, target = shutil.copytree(built / "experiments", tmp_path / "experiments"), tmp_path / "results"
    collect(source, target)
    run = "quant/mnist/vib/seed1"
    before = (target / run / file).read_bytes()
    (source / run / file).write_text('{"epoch"')
    [line] = [line for line in collect(source, target) if run in line]
    assert line.startswith(f"left out {run}: ") and f"{file} is damaged" in line
    assert (target / run / file).read_bytes() == before


@pytest.mark.parametrize("where, place", [
    ("quant/mnist/vib/seed12", ("quant", "mnist", "vib", "", 0, 12)),
    ("sweep/mnist/vib-pow/lambda_kl=1e-05/seed0", ("sweep", "mnist", "vib-pow", "lambda_kl", 1e-5, 0)),
    ("sweep/mnist/nib-none/emb_dim=8/seed1", ("sweep", "mnist", "nib-none", "emb_dim", 8, 1)),
    ("sweep/mnist/nib-none/nib_log_std=-1e+03/seed1", ("sweep", "mnist", "nib-none", "nib_log_std", -1000.0, 1)),
    ("quant/mnist/vib/seed0-old", None), ("quant/mnist/vib/sub/seed0", None), ("tour/seed0", None),
    ("sweep/mnist/vib-pow/lambda_kl=best/seed0", None), ("quant/mnist/vib/lambda_kl=1/seed0", None),
])
def test_a_folder_is_taken_for_a_run_by_its_whole_name(where, place):
    assert Place.of(where) == (place and Place(*place))


class Page(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.images, self.addresses, self.tags, self.ids = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        if tag == "img":
            self.images.append((attributes["alt"], attributes["src"]))
        self.addresses += [attributes[name] for name in ("href", "src", "srcset") if name in attributes]
        self.ids += [attributes["id"]] if "id" in attributes else []


def test_the_page_holds_all_its_pictures_and_fetches_nothing(built):
    text = (built / "results/report.html").read_text()
    page = Page(text)
    assert len(page.images) == 2  # of Shapes
    # Information plane, robustness, detection, two of training, two IB curves.
    assert text.count('<svg class="whole"') == 7
    for alt, source in page.images:
        kind, data = source.split(",", 1)
        assert alt and kind == "data:image/webp;base64"
        Image.open(io.BytesIO(base64.b64decode(data, validate=True))).verify()
    assert len(page.ids) == len(set(page.ids))
    links = [address for address in page.addresses if not address.startswith("data:")]
    anchors = {address for address in links if address.startswith("#")}
    assert {anchor[1:] for anchor in anchors} <= set(page.ids)
    assert {link for link in links if link not in anchors and not (built / "results" / link).is_file()} == set()
    assert {"tables.csv", "quant/mnist/vib/seed1/evaluation.json", "figures/robustness.png"} <= set(links)
    assert not re.search(r"https?:|@import|fetch\(|url\((?!#)", re.sub(r"base64,[^\"]*", "", text))
    assert 'name="viewport"' in text and "prefers-color-scheme: dark" in text


def test_a_table_names_its_rows_and_columns_and_what_is_long_is_folded(built):
    text = (built / "results/report.html").read_text()
    page = Page(text)
    rows = text.count("<tr>") - text.count("<thead>")
    assert text.count('<th scope="row">') == rows > 20 and "<td></td>" not in text
    assert len(re.findall(r"<summary>.*, every seed", text)) == 1  # VIB's
    assert page.tags.count("details") == 7  # its table, scores, curves, two of Shapes, the runs and their commands


def test_of_one_seed_nothing_is_said_twice_and_without_a_paper_s_figure_none_is_spoken_of(built):
    found = json.loads((built / "results/tables.json").read_text())
    header, rows = tables.one_model(found, "mnist", "vib")
    assert header == ["VIB", "seed 1", "paper", "difference"] and {len(row) for row in rows} == {4}
    assert tables.reading(found, "mnist").startswith("Figures of a single seed and, in brackets, the paper's figure.")
    text = tables.reading(committed(), "fashion_mnist")
    assert "paper" not in text and "†" not in text and " Nothing lies outside" in tables.reading(committed(), "mnist")
    for model in ("vib", "disenib"):
        for row in tables.one_model(committed(), "mnist", model)[1]:
            assert row[3] not in ("+0.00", "-0.00") or row[4] == "–" or abs(float(row[4])) <= 1


def test_what_has_reached_log_n_is_marked():
    points = read_runs(RESULTS)
    [far] = [run for run in points if run.name == "vib-none" and (run.swept, run.value) == ("lambda_kl", 1e-5)]
    run = replace(far, kind="quant", name="vib", seed=0)
    found = tables.build([run], None, ["mnist"])
    header, rows = tables.comparison(found, "mnist")
    assert rows[0][1] == "10.99 (3.90) ‡ †" and rows[2][1] == "2.30 (2.23)"  # ln 60,000 is 11.00
    assert "log N" in tables.reading(found, "mnist") and "log N" not in tables.reading(committed(), "mnist")


def test_the_quick_version_says_so_in_every_table_figure_and_page(tmp_path, monkeypatch):
    headings = []
    monkeypatch.setattr("matplotlib.figure.Figure.suptitle", lambda self, text, **_: headings.append(text))
    source = tmp_path / "quick"
    shutil.copytree(RESULTS / "quant/mnist/vib/seed0", source / "quant/digits/vib/seed0")
    printed = report(source, tmp_path / "report", label=QUICK_LABEL)
    assert headings and all(QUICK_LABEL in heading for heading in headings) and QUICK_LABEL in printed
    assert json.loads((tmp_path / "report/tables.json").read_text())["label"] == QUICK_LABEL
    for line in (tmp_path / "report/README.md").read_text().splitlines():
        assert not line.startswith("#") or QUICK_LABEL in line
    text = (tmp_path / "report/report.html").read_text()
    assert all(QUICK_LABEL in heading for heading in re.findall(r"<(?:title|h1|h2)>(.*?)<", text))
    for line in (tmp_path / "report/tables.csv").read_text().splitlines()[1:]:
        assert line.startswith(f'"{QUICK_LABEL}"')
    tex = (tmp_path / "report/tables.tex").read_text()
    assert tex.count(r"\caption") == tex.count(QUICK_LABEL) == 1
    text = re.sub("<svg.*?</svg>", "", text, flags=re.DOTALL)  # whose coordinates may be any number
    assert "97.59" not in text and "(paper)" not in text  # the published figures are of another data set


LOOK = """
onload = () => {
  const table = document.querySelector("table"), of = row => row.cells[1].textContent;
  const name = table.tBodies[0].rows[0].cells[0], n = table.tBodies[0].rows.length;
  table.tHead.rows[0].cells[1].click();
  const sorted = [...table.tBodies[0].rows].map(of);
  const figure = document.querySelector("figure:has(script)");
  const [x, y] = JSON.parse(figure.querySelector("script").text)[0][3][0];
  const svg = figure.querySelector(".panels svg"), at = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
  svg.dispatchEvent(new PointerEvent("pointermove", {clientX: at.x, clientY: at.y, bubbles: true}));
  figure.querySelector("a.full").click();
  document.title = JSON.stringify({
    pictures: [...document.images].filter(i => i.complete && i.naturalWidth).length, same: n === sorted.length,
    first: sorted[0], last: sorted.at(-1), tip: document.getElementById("tip").textContent,
    large: document.querySelector("dialog").open, wide: document.documentElement.scrollWidth,
    head: name.offsetWidth, sticky: getComputedStyle(name).position,
  });
};
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome is installed")
def test_in_a_browser_of_a_phone_s_width_pictures_show_tables_sort_and_points_tell_their_values(built, tmp_path):
    page = tmp_path / "page.html"
    page.write_text((built / "results/report.html").read_text().replace("</body>", f"<script>{LOOK}</script></body>"))
    shown = in_chromium(page, "--window-size=500,844", "--dump-dom")  # no window is narrower than 500
    found = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", shown.stdout)[1]))
    assert "CONSOLE" not in shown.stderr, shown.stderr[-2000:]
    assert found.pop("head") <= 130 and found.pop("wide") <= 500
    assert found.pop("first").startswith("99.") and found.pop("last") == "1"  # its runs
    assert re.fullmatch(r"λ = 0.001, seed 0: I\(X;T\), nats [\d.]+; I\(Y;T\), nats [\d.]+", found.pop("tip")), found
    assert found == {"pictures": 2, "same": True, "large": True, "sticky": "sticky"}


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome is installed")
def test_the_committed_page_prints_to_twelve_pages_at_most(tmp_path):
    page = Path(shutil.copy(RESULTS / "report.html", tmp_path / "page.html"))
    in_chromium(page, "--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'page.pdf'}")
    pages = len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "page.pdf").read_bytes()))
    assert 1 <= pages <= 12
