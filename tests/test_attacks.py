import itertools
import math
import sys
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dataloader import digits
from modellib.evaluations import attacks
from modellib.evaluations.attacks import ATTACKS, Search, Target, adversarial
from modellib.networks import FixedStdEncoder, mlp

FEWER = {"apgd_targeted_dlr": {"steps": 20}, "square": {"queries": 150}}  # where the published number takes long


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def trained():
    """(target in float64, images (450, 64) in [-1, 1], labels): a small network that knows the digits."""
    data = digits.load(None)
    encoder, decoder = FixedStdEncoder(mlp(64, (64, 64), 8), 0.5), nn.Linear(8, 10)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    for parameter in parameters:
        parameter.data = (torch.rand(parameter.shape, generator=seeded()) * 2 - 1) / math.sqrt(parameter.shape[-1])
    optimiser = torch.optim.Adam(parameters, 3e-3)
    random = seeded()
    for _ in range(30):
        for batch in torch.randperm(len(data.train.labels), generator=random).split(100):
            loss = F.cross_entropy(decoder(encoder(data.train.flat()[batch])[0]), data.train.labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    optimiser.zero_grad()
    target = Target(encoder.double(), decoder.double(), image_shape=(1, 8, 8))
    return target, data.test.flat().double(), data.test.labels


def attacked(name, target, images, labels, epsilon=0.2, seed=0, **keywords):
    keywords = FEWER.get(name, {}) | ({"others": images.flip(0)} if name == "transfer" else {}) | keywords
    return adversarial(name, target, images, labels, epsilon=epsilon, generator=seeded(seed), **keywords)


def linear(dimensions=12, classes=5):
    network = nn.Linear(dimensions, classes)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=seeded(), dtype=torch.float64)
    return Target(lambda images: (images, torch.tensor(0.0)), network, image_shape=(1, 3, 4))


def test_of_a_sampled_code_the_last_image_is_judged_beside_the_one_that_its_draws_favoured():
    target = Target(
        lambda images: (images, torch.ones(())), lambda codes: torch.cat((codes, -codes), -1), "sample",
        n_judging_draws=1000,
    )
    images, labels = torch.full((2, 1), 0.5), torch.zeros(2, dtype=torch.long)
    search = Search(target, images, labels, 0.5, seeded())
    search.best, search.last = torch.tensor([[0.5], [0.0]]), torch.tensor([[0.0], [0.5]])  # right at 69 and at 50 %
    search.settle()
    assert search.found.tolist() == [[0.0], [0.0]]
    assert search.accuracy.tolist() == pytest.approx([0.5, 0.5], abs=0.06)


@pytest.mark.parametrize("code", ["mean", "sample"])
@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_leaves_the_ball_or_the_range_and_what_it_says_of_an_image_is_true(trained, name, code):
    target, images, labels = trained
    images, labels = images[:40], labels[:40]
    target = Target(target.encoder, target.decoder, code, n_draws=5, image_shape=(1, 8, 8))
    keywords = {"queries": 60} if name == "square" else {}
    found, accuracy = attacked(name, target, images, labels, **keywords)
    assert (found - images).abs().max() <= 0.2 + 1e-12
    assert found.abs().max() <= 1
    assert (found != images).any()
    if code == "mean":
        predicted = target.decoder(target.encoder(found)[0]).argmax(1)
        assert torch.equal(accuracy, (predicted == labels).double())
    assert attacked(name, target, images, labels, epsilon=0.0, **keywords)[0].equal(images)


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_do_not_depend_on_the_batches_nor_on_who_else_is_attacked_and_repeat_with_a_seed(trained, name):
    target, images, labels = trained
    images, labels = images[:60], labels[:60]
    for code in ("mean", "sample"):
        if code == "sample" and name in ("square", "apgd_targeted_dlr"):
            continue  # slow, and made of the same parts as the others
        changed = {"code": code, "n_draws": 3, "n_judging_draws": 10, "image_shape": (1, 8, 8)}
        whole, batched = (Target(target.encoder, target.decoder, batch_size=size, **changed) for size in (1000, 23))
        keywords = {"steps": 20, "starts": 2} if name.startswith("pgd") else {}
        _, accuracy = attacked(name, whole, images, labels, **keywords)
        assert torch.equal(accuracy, attacked(name, whole, images, labels, **keywords)[1])
        assert torch.equal(accuracy, attacked(name, batched, images, labels, **keywords)[1])
        rows = torch.arange(1, 60, 2)
        some = attacked(name, whole, images, labels, rows=rows, **keywords)[1]
        assert torch.equal(some[rows], accuracy[rows])
        assert some[::2].isinf().all()


@pytest.mark.parametrize("name", ["pgd_margin", "apgd_dlr", "apgd_targeted_dlr", "square"])
def test_a_linear_model_is_broken_exactly_where_it_can_be(name):
    target = linear()
    weight = target.decoder.weight.detach()
    images = torch.rand(200, 12, generator=seeded(1), dtype=torch.float64) - 0.5  # the balls lie within [-1, 1]
    logits = target.decoder(images).detach()
    labels = logits.argmax(1)
    margins = logits.gather(1, labels[:, None]) - logits  # (N, K), to every class
    l1 = (weight[labels][:, None] - weight).abs().sum(2)
    for epsilon in (0.05, 0.15):
        robust = ((margins - epsilon * l1 > 0) | (l1 == 0)).all(1)
        assert 20 < robust.sum() < 180
        keywords = {"queries": 2000} if name == "square" else {}
        _, accuracy = attacked(name, target, images, labels, epsilon=epsilon, **keywords)
        assert (accuracy[robust] == 1).all()  # what cannot be broken is not
        missed = (accuracy[~robust] == 1).double().mean()
        # The direction to the nearest class is not always that to the one within reach, save where each is tried.
        assert missed <= {"apgd_targeted_dlr": 0.0, "square": 0.1}.get(name, 0.05)


def test_large_logits_blind_the_cross_entropy_and_neither_the_margin_nor_dlr(trained):
    target, images, labels = trained
    encoder, decoder = FixedStdEncoder(mlp(64, (64, 64), 8), 0.5), nn.Linear(8, 10)
    encoder.load_state_dict(target.encoder.state_dict())
    decoder.load_state_dict(target.decoder.state_dict())
    images, plain = images.float(), Target(encoder, decoder)
    large = Target(encoder, lambda code: decoder(code) * 1e4)
    robust = {
        (name, scale): float(attacked(name, model, images, labels)[1].mean())
        for name in ("apgd_cross_entropy", "apgd_dlr", "pgd_margin") for scale, model in ((1, plain), (1e4, large))
    }
    assert robust["apgd_cross_entropy", 1] < 0.4
    assert robust["apgd_cross_entropy", 1e4] > robust["apgd_cross_entropy", 1] + 0.2
    for name in ("apgd_dlr", "pgd_margin"):
        assert abs(robust[name, 1e4] - robust[name, 1]) < 0.01


def test_losses_worked_by_hand():
    logits = torch.tensor([[[4.0, 1.0, 3.0, 0.0]]])
    label, target = torch.tensor([0]), torch.tensor([1])
    assert attacks.margin(logits, label).item() == -1  # 3 − 4
    assert attacks.margin(logits, torch.tensor([1])).item() == 3
    assert attacks.dlr(logits, label).item() == pytest.approx(-1 / 3)  # (4 − 3) / (4 − 1)
    assert attacks.targeted_dlr(logits, label, target).item() == pytest.approx(-3 / 3.5)  # (4 − 1) / (4 − (1 + 0) / 2)
    assert attacks.cross_entropy(logits, label).item() == pytest.approx(F.cross_entropy(logits[0], label).item())


def test_dlr_says_how_many_classes_it_needs():
    images, labels = torch.zeros(1, 12, dtype=torch.float64), torch.zeros(1, dtype=torch.long)
    with pytest.raises(ValueError, match="DLR loss needs 3 classes or more, the model has 2"):
        attacked("apgd_dlr", linear(classes=2), images, labels)
    with pytest.raises(ValueError, match="targeted DLR loss needs 4 classes or more, the model has 3"):
        attacked("apgd_targeted_dlr", linear(classes=3), images, labels)


def test_schedules_of_the_papers():
    assert attacks.checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    shares = [attacks.square_share(query, 10_000, 0.8) for query in (1, 9, 10, 49, 50, 200, 999, 1000, 8000)]
    assert shares == [0.8, 0.8, 0.4, 0.4, 0.2, 0.1, 0.1, 0.05, 0.8 / 256]
    assert attacks.square_share(500, 5000, 0.8) == 0.05  # half as many queries, half as late


def test_networks_keep_mode_and_have_no_gradients_of_their_own(trained):
    target, images, labels = trained
    target.encoder.train()
    attacked("pgd_margin", target, images[:5], labels[:5], steps=2, starts=1)
    assert target.encoder.training
    assert all(parameter.grad is None for parameter in target.encoder.parameters())


def test_images_out_of_range_are_refused(trained):
    target, images, labels = trained
    with pytest.raises(ValueError, match=r"images must lie in \[-1, 1\]"):
        attacked("fgsm_margin", target, images * 2, labels)
    with pytest.raises(ValueError, match="epsilon must be a number from 0 on, not -0.1"):
        attacked("fgsm_margin", target, images, labels, epsilon=-0.1)


def auto_pgd(values, signs, start, epsilon, turns):
    """Algorithm 1 of Croce and Hein 2020 on one pixel around 0, whose look k has the loss values[k], gradient signs[k].

    Returns the pixel at every look, and of every turn: too few rises, the best as before, the step halved last time.
    """
    def clip(pixel):
        return max(-epsilon, min(epsilon, pixel))

    pixel = before = start
    seen, reasons, step, halved = [start], [], 2 * epsilon, False
    at = best = best_then = rises = turn = 0
    for k in range(1, turns[-1] + 1):
        new = clip(pixel + step * signs[at])
        if k > 1:
            new = clip(pixel + 0.75 * (new - pixel) + 0.25 * (pixel - before))
        rises += values[k] > values[at]
        before, pixel, at = pixel, new, k
        seen.append(pixel)
        best = k if values[k] > values[best] else best
        if k in turns:
            reasons.append((rises < 0.75 * (k - turn), best == best_then, halved))
            halved = reasons[-1][0] or (best == best_then and not halved)
            rises, turn, best_then = 0, k, best
            if halved:
                step, at, pixel = step / 2, best, seen[best]
    return seen, reasons


def test_apgd_looks_where_the_algorithm_of_the_paper_does_and_halves_its_step_only_when_that_does():
    turns, n, seen = attacks.checkpoints(100), 300, []
    values = torch.where(torch.rand(101, n, generator=seeded()) < 0.15, -3.0, 1.0).cumsum(0).double()  # rises, falls
    signs = torch.randint(2, (101, n), generator=seeded(1)).double() * 2 - 1

    def loss(logits, labels):
        pixels = logits[0, :, 0]
        seen.append(pixels.detach().clone())
        k = len(seen) - 1
        return (values[k] + signs[k] * (pixels - pixels.detach())).unsqueeze(0)

    def decoder(code):
        return F.pad(code, (0, 1), value=-9.0)  # never wrong: the other class stays below

    record = attacks.Attack(lambda search: attacks.apgd(search, loss=loss, steps=100), "white", 101)
    target = Target(lambda x: (x, torch.tensor(0.0)), decoder)
    pixels, labels = torch.zeros(n, 1, dtype=torch.float64), torch.zeros(n, dtype=torch.long)
    adversarial(record, target, pixels, labels, epsilon=0.4, generator=seeded(2))
    turned = set()
    for looks, value, sign in zip(torch.stack(seen).T.tolist(), values.T.tolist(), signs.T.tolist(), strict=True):
        wanted, reasons = auto_pgd(value, sign, looks[0], 0.4, turns)
        assert looks[: len(wanted)] == pytest.approx(wanted, abs=1e-12)
        turned.update(reasons)
    # The step is halved in all of them but where neither was, or only the second and right after a halving.
    assert turned == set(itertools.product((False, True), repeat=3))


@pytest.fixture
def adv_lib(monkeypatch):
    """adv-lib's attacks; its visdom is only for drawing, and need not be there."""
    pytest.importorskip("adv_lib")
    try:
        import visdom  # noqa: F401
    except ModuleNotFoundError:
        monkeypatch.setitem(sys.modules, "visdom", ModuleType("visdom"))
    import adv_lib.attacks

    return adv_lib.attacks


def test_pgd_and_apgd_agree_with_adv_lib(trained, adv_lib):
    target, images, labels = trained

    def right(unit):  # adv-lib's images lie in [0, 1]
        with torch.no_grad():
            return model(unit).argmax(1) == labels

    def model(unit):
        return target.decoder(target.encoder(2 * unit - 1)[0])

    unit, half = (images + 1) / 2, 0.1
    pgd = {"steps": 50, "restarts": 2, "absolute_step_size": 2.5 * half / 50}
    apgd = {"norm": math.inf, "n_iter": 50}
    theirs = {
        "pgd_cross_entropy": lambda: adv_lib.pgd_linf(model, unit, labels, half, loss_function="ce", **pgd),
        "pgd_margin": lambda: adv_lib.pgd_linf(model, unit, labels, half, loss_function="dl", **pgd),
        "apgd_cross_entropy": lambda: adv_lib.apgd(model, unit, labels, half, loss_function="ce", **apgd),
        "apgd_dlr": lambda: adv_lib.apgd(model, unit, labels, half, loss_function="dlr", **apgd),
        "apgd_targeted_dlr": lambda: adv_lib.apgd_targeted(model, unit, labels, half, **apgd),
    }
    for name, attack in theirs.items():
        torch.manual_seed(0)
        # Its targeted attack turns some images that are wrong at first into right ones.
        share = float((right(attack()) & right(unit)).double().mean())
        starts = {"starts": 2} if name.startswith("pgd") else {}
        ours = float(attacked(name, target, images, labels, epsilon=0.2, steps=50, **starts)[1].mean())
        assert 0.2 < ours < 0.4
        assert abs(ours - share) <= 0.01, (name, ours, share)
