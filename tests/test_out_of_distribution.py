import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn

from modellib.evaluations.out_of_distribution import (
    class_statistics,
    detection_curves,
    detection_metrics,
    noise_images,
    odin_scores,
    plain_scores,
)


def seeded():
    return torch.Generator().manual_seed(0)


def scores_of(model, images, temperature=1000.0, epsilon=0.0014):
    return odin_scores(
        lambda x: (x, torch.tensor(0.0)), model, images, temperature=temperature, epsilon=epsilon,
        draw=lambda mean, std: mean, batch_size=3,
    )


def test_scores_of_a_linear_model_worked_by_hand():
    model = nn.Linear(2, 2, bias=False)
    model.weight.data = torch.tensor([[1.0, 0.0], [0.0, 0.5]])
    images = torch.tensor([[0.5, 0.2], [0.0, 0.8], [-0.3, -0.9], [1.0, -1.0]])
    # The step raises the predicted logit and lowers the other, so the margin |x0 − x1 / 2| grows by 1.5 ε; the last
    # image is at the corner and is clamped.
    for temperature, epsilon in ((1000.0, 0.0014), (10.0, 0.05), (1.0, 0.0)):
        margins = [0.4 + 1.5 * epsilon, 0.4 + 1.5 * epsilon, 0.15 + 1.5 * epsilon, 1.5]
        expected = [1 / (1 + math.exp(-margin / temperature)) for margin in margins]
        assert np.allclose(scores_of(model, images, temperature, epsilon), expected, rtol=0, atol=1e-7 / temperature)


def test_scores_resolve_differences_that_float32_cannot():
    model = nn.Linear(1, 2, bias=False)
    model.weight.data = torch.tensor([[1.0], [-1.0]])
    scores = scores_of(model, torch.tensor([[0.50000], [0.50001]]))
    assert scores.dtype == torch.float64
    assert scores[1] > scores[0] and scores[1].float() == scores[0].float()


def test_plain_scores_are_those_of_their_papers_worked_by_hand():
    mean, std = torch.tensor([[1.0, -1.0], [0.0, 3.0]]), torch.tensor([[1.0, 2.0], [0.5, 1.0]])
    codes = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0], [0.0, 5.0]])  # two a class, 1 apart from its mean
    statistics = class_statistics(codes, torch.tensor([0, 0, 1, 1]))
    assert statistics[0].tolist() == [[1, 0], [0, 4]] and torch.allclose(statistics[1], 2 * torch.eye(2).double())
    scores, mean_std = plain_scores(
        lambda x: (mean, std), lambda code: 2 * code, torch.zeros(2, 1), statistics=statistics,
        draw=lambda mean, std: mean, batch_size=2,
    )
    sure = torch.tensor([1 / (1 + math.exp(-4)), 1 / (1 + math.exp(-6))], dtype=torch.float64)  # logits 2, -2 and 0, 6
    expected = {
        "max_softmax": sure, "entropy": sure * sure.log() + (1 - sure) * (1 - sure).log(),
        "energy": torch.tensor([2.0, 6.0]).double() - sure.log(),
        "kl_to_standard_normal": -torch.tensor([5 - math.log(4), 8.25 - math.log(0.25)]) / 2,
        "class_means": -torch.tensor([2.0, 2.0]),  # (0, -1) from class 0, (0, -1) from class 1, twice its square
    }
    assert scores.keys() == expected.keys() and mean_std == pytest.approx(1.125)
    for name, score in scores.items():
        assert torch.allclose(score, expected[name].double(), atol=1e-6), name


def test_a_code_without_noise_has_no_divergence_to_score_by():
    statistics = torch.zeros(2, 2).double(), torch.eye(2).double()
    scores, mean_std = plain_scores(
        lambda x: (x, torch.tensor(0.0)), lambda code: code, torch.ones(3, 2), statistics=statistics,
        draw=lambda mean, std: mean, batch_size=2,
    )
    assert mean_std == 0 and "kl_to_standard_normal" not in scores and torch.stack([*scores.values()]).isfinite().all()


def test_a_zero_gradient_counts_as_positive():
    def constant_gradient_free(x):
        return torch.cat((x.detach() + 0 * x, torch.zeros_like(x)), 1)  # depends on x, but has no gradient

    score = scores_of(constant_gradient_free, torch.tensor([[0.5]]), temperature=1.0, epsilon=0.1)
    assert math.isclose(score.item(), 1 / (1 + math.exp(-0.4)), rel_tol=1e-6)  # the image went down by 0.1


def test_gaussian_noise_is_clamped_and_uniform_noise_fills_the_range():
    like = torch.zeros(1000, 20)
    gauss, uniform = noise_images("gauss", like, seeded()), noise_images("uniform", like, seeded())
    at_the_ends = (gauss.abs() == 1).double().mean().item()
    assert gauss.abs().max() == 1 and abs(at_the_ends - 0.3173) < 0.01  # P(|N(0, 1)| > 1)
    assert uniform.abs().max() <= 1 and abs(uniform.std().item() - 1 / math.sqrt(3)) < 0.01
    assert torch.equal(gauss, noise_images("gauss", like, seeded()))


def by_every_threshold(inside, outside):
    """FPR at 95 % TPR and detection error by trying every threshold, "score >= threshold" meaning inside."""
    fprs, errors = [1.0], [0.5]
    for threshold in [*inside, *outside]:
        tpr = sum(s >= threshold for s in inside) / len(inside)
        fpr = sum(s >= threshold for s in outside) / len(outside)
        errors.append((1 - tpr + fpr) / 2)
        if tpr >= 0.95:
            fprs.append(fpr)
    return min(fprs), min(errors)


CASES = {
    "perfect": ([3.0, 4.0, 5.0], [0.0, 1.0, 2.0]),
    "reversed": ([0.0, 1.0, 2.0], [3.0, 4.0, 5.0]),
    "constant": ([1.0] * 5, [1.0] * 4),
    "ties": ([1.0, 2.0, 2.0, 3.0, 3.0], [0.0, 1.0, 2.0, 2.0]),
    "ties at the 95 % threshold": ([2.0] * 19 + [1.0], [2.0, 2.0, 1.0, 0.0]),
    "random": tuple(np.random.default_rng(0).normal(mean, 1, 200).tolist() for mean in (1, 0)),
}


@pytest.mark.parametrize("case", CASES)
def test_detection_metrics_against_every_threshold_and_scikit_learn(case):
    inside, outside = CASES[case]
    result = detection_metrics(torch.tensor(inside, dtype=torch.float64), torch.tensor(outside, dtype=torch.float64))
    fpr, error = by_every_threshold(inside, outside)
    labels, scores = [1] * len(inside) + [0] * len(outside), np.array(inside + outside)
    assert result == pytest.approx({
        "fpr_at_95_tpr": fpr,
        "auroc": roc_auc_score(labels, scores),
        "aupr_in": average_precision_score(labels, scores),
        "aupr_out": average_precision_score(1 - np.array(labels), -scores),
        "detection_error": error,
    })


def test_perfect_reversed_and_constant_scores_give_the_known_values():
    def metrics(case):
        return detection_metrics(*(torch.tensor(scores, dtype=torch.float64) for scores in CASES[case]))

    assert metrics("perfect") == {
        "fpr_at_95_tpr": 0.0, "auroc": 1.0, "aupr_in": 1.0, "aupr_out": 1.0, "detection_error": 0.0,
    }
    assert metrics("reversed")["auroc"] == 0.0 and metrics("reversed")["fpr_at_95_tpr"] == 1.0
    constant = metrics("constant")
    assert constant["auroc"] == 0.5 and constant["fpr_at_95_tpr"] == 1.0 and constant["detection_error"] == 0.5
    assert constant["aupr_in"] == pytest.approx(5 / 9) and constant["aupr_out"] == pytest.approx(4 / 9)


def test_auroc_is_the_probability_that_an_inside_score_is_the_larger_ties_counting_half():
    inside, outside = CASES["ties"]
    wins = sum((a > b) + 0.5 * (a == b) for a in inside for b in outside)
    result = detection_metrics(torch.tensor(inside), torch.tensor(outside))
    assert result["auroc"] == pytest.approx(wins / (len(inside) * len(outside)))


def test_exact_figures_are_those_of_ten_thousand_equally_spaced_thresholds():
    random = np.random.default_rng(0)
    inside, outside = 0.1 + 1e-3 * random.normal(1.5, 1, 2000), 0.1 + 1e-3 * random.normal(0, 1, 2000)
    thresholds = np.linspace(min(inside.min(), outside.min()), max(inside.max(), outside.max()), 10_000)
    tpr = (inside[:, None] >= thresholds).mean(0)
    fpr = (outside[:, None] >= thresholds).mean(0)
    result = detection_metrics(torch.tensor(inside), torch.tensor(outside))
    assert result["fpr_at_95_tpr"] == pytest.approx(fpr[tpr >= 0.95].min(), abs=2e-3)
    assert result["auroc"] == pytest.approx(-np.sum(np.diff(fpr) * tpr[:-1]), abs=2e-3)  # the published rectangles
    assert result["detection_error"] == pytest.approx(((1 - tpr + fpr) / 2).min(), abs=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_the_curves_that_are_kept_are_those_behind_the_figures(name):
    inside, outside = (torch.tensor(scores, dtype=torch.float64).repeat(20) for scores in CASES[name])
    curves = detection_curves(inside, outside)
    fpr, tpr = np.array(curves["roc"]).T
    assert len(fpr) <= 101 and (fpr[0], tpr[0]) == (0, 0) and (fpr[-1], tpr[-1]) == (1, 1)
    assert abs(np.trapezoid(tpr, fpr) - detection_metrics(inside, outside)["auroc"]) < 0.01
    assert sum(curves["inside"]) == len(inside) and sum(curves["outside"]) == len(outside)
    low, high = curves["range"]
    assert len(curves["inside"]) == 50 and low == min(*inside, *outside) and high == max(*inside, *outside)
