import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from custom_pkg.compute import generator
from custom_pkg.files import MAX_JSON_BYTES
from experiments import robust_accuracy
from modellib.evaluations.attacks import ATTACKS, Target, square
from modellib.evaluations.robustness import robustness

SHAPE = (1, 3, 4)


@pytest.fixture(autouse=True)
def fewer_queries(monkeypatch):
    monkeypatch.setitem(ATTACKS, "square", replace(ATTACKS["square"], run=partial(square, queries=300), looks=303))


class Noisy(nn.Module):
    """Code = image + std × noise."""

    def __init__(self, std):
        super().__init__()
        self.std = torch.tensor(std, dtype=torch.float64)

    def forward(self, images):
        return images, self.std


class Rounded(Noisy):
    def forward(self, images):
        return super().forward((images * 20).round() / 20)


def linear(classes, std=0.0, encoder=Noisy, **changes):
    """(target, images (200, 12), their labels, margins and L1 distances of weights (200, K)); it is always right."""
    random = torch.Generator().manual_seed(1)
    decoder = nn.Linear(12, classes, bias=False, dtype=torch.float64)
    decoder.weight.data = torch.randn(classes, 12, generator=random, dtype=torch.float64)
    images = torch.rand(200, 12, generator=random, dtype=torch.float64) - 0.5  # the balls lie within [-1, 1]
    logits = decoder(images).detach()
    labels = logits.argmax(1)
    margins = logits.gather(1, labels[:, None]) - logits
    differences = decoder.weight.detach()[labels][:, None] - decoder.weight.detach()
    return Target(encoder(std), decoder, image_shape=SHAPE, **changes), images, labels, margins, differences


def evaluate(target, images, labels, **changes):
    return robustness(target, images, labels, **{"generator": partial(generator, 0), **changes})


def test_the_worst_case_of_a_linear_model_is_exact():
    target, images, labels, margins, differences = linear(5)
    labels = torch.where(torch.arange(200) < 20, (labels + 1) % 5, labels)  # a tenth is wrong at first
    seen = []

    def counting(looks):
        for look in looks:
            seen.append(look)
            yield look

    result = evaluate(target, images, labels, epsilons=(0.15, 0.0), progress=counting)
    exact = {}
    for epsilon in (0.0, 0.15):
        robust = (margins[20:] - epsilon * differences[20:].abs().sum(2) >= 0).all(1)
        exact[str(epsilon)] = float(robust.double().sum() / 200)
    assert result["worst_case"] == pytest.approx(exact)
    assert exact["0.0"] == result["clean_accuracy"] == 0.9
    assert result["worst_case_stderr"] == pytest.approx(
        {epsilon: math.sqrt(share * (1 - share) / 200) for epsilon, share in exact.items()}
    )
    for figures in result["by_attack"].values():
        assert all(figures[epsilon] >= share - 1e-12 for epsilon, share in exact.items())
        assert list(figures.values()) == sorted(figures.values(), reverse=True)
    assert list(result["curve"].values()) == sorted(result["curve"].values(), reverse=True)
    assert result["signs"]["curve_end"] == 0
    assert max(result["signs"]["black_box_only"].values()) == 0
    assert result["on_standing"]["square"]["0.15"]["attacked"] == round(exact["0.15"] * 200)
    assert seen == list(range(len(seen))) and len(seen) > 1000  # a bar ends full


def test_of_a_sampled_code_the_expected_accuracy_counts_and_not_a_lucky_draw():
    std = 0.3
    target, images, labels, margins, differences = linear(2, std, code="sample")
    names = ("fgsm_margin", "apgd_cross_entropy", "square")
    result = evaluate(target, images, labels, attacks=names, epsilons=(0.0, 0.1), curve_epsilons=())
    other = margins.gather(1, 1 - labels[:, None])[:, 0]
    difference = differences[torch.arange(200), 1 - labels]
    for epsilon, figure in result["worst_case"].items():  # P(margin of the code > 0), a normal distribution function
        worst = other - float(epsilon) * difference.abs().sum(1)
        exact = torch.special.ndtr(worst / (std * difference.square().sum(1).sqrt())).mean()
        assert abs(figure - float(exact)) < 0.01, (epsilon, figure, float(exact))
    assert result["worst_case"]["0.0"] == result["clean_accuracy"] < 0.9


@pytest.mark.parametrize("code", ["mean", "sample"])
def test_an_interrupted_evaluation_goes_on_to_the_same_figures(code):
    target, images, labels, *_ = linear(4, 0.3, code=code, n_draws=3, n_judging_draws=20)
    names = ("fgsm_margin", "apgd_dlr", "square")
    run = partial(evaluate, target, images, labels, attacks=names, epsilons=(0.05, 0.1), curve_epsilons=(0.1,))
    states = []
    whole = run(done=states.append)
    assert len(states) == 7
    for state in states[1::3]:
        rest = []
        assert run(state=state, done=rest.append) == whole
        assert len(rest) == 7 - len(state)
    assert run() == whole
    with pytest.raises(ValueError, match="the state to go on from is of 200 images, not of 199"):
        evaluate(target, images[1:], labels[1:], state=states[0])


def test_the_figures_do_not_depend_on_the_batches():
    target, images, labels, *_ = linear(5, 0.1, code="sample", n_draws=3, n_judging_draws=20)
    few = {"attacks": ("apgd_dlr", "square"), "epsilons": (0.1,), "curve_epsilons": ()}
    whole, batched = (evaluate(one, images, labels, **few) for one in (target, replace(target, batch_size=37)))
    assert whole == batched


def test_a_gradient_that_is_hidden_shows():
    target, images, labels, *_ = linear(5, encoder=Rounded)
    names = ("apgd_dlr", "pgd_margin", "square")
    result = evaluate(target, images, labels, attacks=names, epsilons=(0.1,), curve_epsilons=())
    assert result["signs"]["zero_gradient_margin_float64"] == 1
    assert result["signs"]["black_box_only"]["0.1"] > 0.3
    assert result["worst_case"]["0.1"] < result["by_attack"]["apgd_dlr"]["0.1"] - 0.1


def test_what_breaks_a_plain_network_breaks_the_one_that_hides_its_gradient():
    target, images, labels, margins, differences = linear(2)
    direction = -(differences[torch.arange(200), 1 - labels]).sign()
    hidden = replace(target, encoder=Rounded(0.0))
    run = partial(evaluate, hidden, images, labels, epsilons=(0.1,), curve_epsilons=())
    assert {"apgd_dlr", "transfer"}.isdisjoint(run()["by_attack"])  # two classes, and no images given
    with_transfer = run(attacks=("apgd_cross_entropy", "transfer"), transfer_images={0.1: images + 0.1 * direction})
    exact = float((margins - 0.1 * differences.abs().sum(2) >= 0).all(1).double().mean())
    assert with_transfer["worst_case"]["0.1"] == pytest.approx(exact, abs=0.03)  # rounding moves some
    assert with_transfer["by_attack"]["transfer"] == with_transfer["worst_case"]
    assert run(attacks=("apgd_cross_entropy",))["worst_case"]["0.1"] > exact + 0.2


def test_large_logits_alone_make_float32_gradients_zero_and_not_those_of_float64():
    target, images, labels, *_ = linear(5)
    target.decoder.weight.data *= 150
    target = replace(target, encoder=Noisy(0.0).float(), decoder=target.decoder.float())
    signs = evaluate(target, images.float(), labels, attacks=("fgsm_margin",), curve_epsilons=())["signs"]
    assert signs["zero_gradient_cross_entropy_float32"] > 0.2
    assert signs["zero_gradient_cross_entropy_float64"] == 0
    assert signs["zero_gradient_margin_float32"] == 0


@pytest.mark.parametrize(
    "classes, names, words",
    [
        (5, ("pgd",), "no attack pgd; there are fgsm_cross_entropy"),
        (3, ("apgd_targeted_dlr",), "needs 4 classes or more"),
        (5, ("transfer",), "images of another network for every epsilon"),
    ],
)
def test_attacks_that_cannot_be_run_are_refused(classes, names, words):
    with pytest.raises(ValueError, match=words):
        evaluate(*linear(classes)[:3], attacks=names)


def test_what_an_interrupted_measurement_keeps_is_exact_and_small():
    torch.manual_seed(0)
    shares = torch.randint(21, (2, 10_000)) / 20
    shares[0, :5] = torch.inf
    packed = robust_accuracy._packed(shares)
    assert torch.equal(robust_accuracy._unpacked(packed, 10_000), shares)
    assert torch.equal(robust_accuracy._unpacked(shares.tolist(), 10_000), shares)  # as it was kept before
    assert 100 * len(packed) < MAX_JSON_BYTES / 2  # as many attacks and sizes on the whole test set
    for text, n_images in ((packed, 9_999), (packed[:40], 10_000), ("x", 10_000)):
        with pytest.raises(ValueError):
            robust_accuracy._unpacked(text, n_images)
