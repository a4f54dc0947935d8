from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from experiments.supervised_disentangling import halves
from modellib import disenib
from modellib.evaluations.code_content import readable
from modellib.evaluations.digit_classifier import train_classifier
from modellib.evaluations.disentangling import (
    digit_swaps,
    mean_images,
    nearest_truth,
    slant,
    swap_error,
    swap_pairs,
    thickness,
)
from modellib.swap_pictures import RULE, interpolation, swap_grid


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


N_CLASSES, N_STYLES = 3, 4
PROBES = ("accuracy", "knn_accuracy")


def known_images():
    """Images (12, 1, 2, 2) class by class, whose pixels tell class and style; and their labels."""
    classes, styles = torch.meshgrid(torch.arange(N_CLASSES), torch.arange(N_STYLES), indexing="ij")
    classes, styles = classes.flatten(), styles.flatten()
    return image_of(styles, classes), classes


def image_of(styles, classes):
    return torch.stack((classes / 4, styles / 8, classes / 4, styles / 8), 1).view(-1, 1, 2, 2)


def style_of(images):
    """A perfect style code (N, 1)."""
    return images[:, 0, 0, 1:] * 8


def perfect(style, labels):
    return image_of(style[:, 0], labels)


def all_pairs(labels):
    return swap_pairs(labels, N_CLASSES, 1000, seeded())


def errors_of(reconstructor):
    images, labels = known_images()
    rows, classes = all_pairs(labels)
    return swap_error(
        reconstructor, style_of(images), images, labels, rows, classes, mean_images(images, labels, N_CLASSES),
        batch_size=5,
    )


def test_pairs_are_distinct_take_every_image_and_never_its_own_class():
    labels = known_images()[1]
    rows, classes = all_pairs(labels)
    pairs = set(zip(rows.tolist(), classes.tolist(), strict=True))
    assert len(rows) == len(pairs) == len(labels) * (N_CLASSES - 1)
    assert all(labels[row] != label for row, label in pairs)
    few = swap_pairs(labels, N_CLASSES, 7, seeded())
    assert len(few[0]) == 7
    torch.testing.assert_close(few, swap_pairs(labels, N_CLASSES, 7, seeded()))


def test_perfect_swaps_have_no_error():
    errors = errors_of(perfect)
    assert errors["swap_mse"] == errors["reconstruction_mse"] == 0
    assert errors["swap_psnr"] == 100  # where the scale ends
    assert errors["class_mean_mse"] > 0


def test_a_swap_shows_the_factors_of_the_true_image_that_it_is_nearest_to():
    images, labels = known_images()
    factors = torch.stack((labels, torch.arange(len(labels)) % N_STYLES), 1)
    rows, classes = all_pairs(labels)

    def shown_by(reconstructor):
        return nearest_truth(
            reconstructor, style_of(images), factors, rows, classes, images, factors, batch_size=5
        )

    found, wanted = shown_by(perfect)
    assert torch.equal(found, wanted) and torch.equal(wanted[:, 0], classes)
    assert torch.equal(wanted[:, 1], factors[rows, 1])
    found, wanted = shown_by(lambda style, labels: perfect((style + 1).clamp(max=N_STYLES - 1), labels) + 0.01)
    assert torch.equal(found[:, 0], wanted[:, 0])
    assert torch.equal(found[:, 1], (wanted[:, 1] + 1).clamp(max=N_STYLES - 1))


def test_of_true_images_that_are_the_same_a_swap_shows_the_one_that_was_wanted():
    images, labels = known_images()
    factors = torch.stack((labels, torch.arange(len(labels)) % N_STYLES), 1)
    rows, classes = all_pairs(labels)
    merged = images[labels * N_STYLES + factors[:, 1] // 2 * 2]  # two styles each look the same
    found, wanted = nearest_truth(
        lambda style, told: perfect(style // 2 * 2, told), style_of(images), factors, rows, classes, merged, factors,
        batch_size=5,
    )
    assert torch.equal(found, wanted) and len(wanted[:, 1].unique()) == N_STYLES


def test_probes_of_the_label_keep_a_style_on_one_side_in_all_classes_and_a_code_of_style_alone_is_read_at_chance():
    n_styles, n_classes = 400, 5
    label, style = torch.arange(n_styles * n_classes) // n_styles, torch.arange(n_styles * n_classes) % n_styles
    codes = torch.randn(n_styles, 8, generator=seeded())[style]
    codes += 0.1 * torch.randn(codes.shape, generator=seeded())
    by_style, by_image = halves(len(label), seeded(), n_classes), halves(len(label), seeded())
    for first, second in (by_style, by_image):
        assert torch.equal(torch.cat((first, second)).sort().values, torch.arange(len(label)))
    assert not set(style[by_style[0]].tolist()) & set(style[by_style[1]].tolist())
    read = [readable("a", codes[fit], label[fit], codes[test], label[test], probes=PROBES)["a_knn_accuracy"]
            for fit, test in (by_style, by_image)]
    assert read[0] == pytest.approx(1 / n_classes, abs=0.04) and read[1] < 0.12


def test_a_reconstructor_off_by_a_tenth_has_20_decibels():
    errors = errors_of(lambda style, labels: perfect(style, labels) + 0.1)
    for name in ("swap", "reconstruction"):
        assert errors[f"{name}_mse"] == pytest.approx(0.01)
        assert errors[f"{name}_psnr"] == pytest.approx(20)


def test_a_reconstructor_that_ignores_the_class_reconstructs_but_does_not_swap():
    images, labels = known_images()
    memory = {tuple(image.flatten().tolist()): image for image in images}
    # It is handed a style code that holds everything, and looks at nothing else.
    rows, classes = all_pairs(labels)
    errors = swap_error(
        lambda style, _: torch.stack([memory[tuple(code.tolist())] for code in style]), images.flatten(1), images,
        labels, rows, classes, mean_images(images, labels, N_CLASSES), batch_size=5,
    )
    # Swapping class a for b changes half of the pixels by (a - b) / 4: of the six ordered pairs, two are 2 apart.
    assert errors["reconstruction_mse"] == 0
    assert errors["swap_mse"] == pytest.approx(((1 / 4) ** 2 * 4 + (2 / 4) ** 2 * 2) / 6 / 2)


def test_a_reconstructor_that_ignores_the_style_is_as_good_as_the_mean_of_the_class():
    images, labels = known_images()
    means = mean_images(images, labels, N_CLASSES)
    errors = errors_of(lambda style, labels: means[labels])
    assert errors["swap_mse"] == pytest.approx(errors["class_mean_mse"])
    spread = np.var(np.arange(N_STYLES) / 8) / 2  # only the half of the pixels that shows the style
    assert errors["class_mean_mse"] == pytest.approx(spread)


def stroke(width, shear=0.0, size=28):
    """A bar of that width in pixels, leaning to the right by `shear` pixels per pixel up."""
    fine = 8
    width, shear = float(width), float(shear)
    y, x = np.mgrid[: size * fine, : size * fine] / fine + 0.5 / fine
    inside = (np.abs(x - size / 2 + shear * (y - size / 2)) < width / 2) & (np.abs(y - size / 2) < 10)
    return torch.from_numpy(inside.reshape(size, fine, size, fine).mean((1, 3))).float()[None]


@pytest.mark.parametrize("width", [2, 3, 4, 6])
def test_thickness_is_the_width_of_a_stroke_in_pixels(width):
    assert thickness(stroke(width)[None]) == pytest.approx(width, rel=0.15)


@pytest.mark.parametrize("shear", [-0.5, 0.0, 0.3, 0.6])
def test_slant_is_the_shear_of_a_stroke(shear):
    assert slant(stroke(2, shear)[None]) == pytest.approx(shear, abs=0.03)


def test_black_images_have_neither_slant_nor_thickness():
    black = torch.zeros(2, 1, 28, 28)
    assert slant(black).tolist() == thickness(black).tolist() == [0, 0]


class SeesTheClass(nn.Module):
    """A classifier of bars at class-dependent heights, right by construction."""

    def forward(self, images):
        return torch.stack((images[:, 0, 0, 0], images[:, 0, 0, 1], images[:, 0, 0, 2]), 1)


def bars(widths, shears, labels):
    images = torch.stack([stroke(width, shear) for width, shear in zip(widths, shears, strict=True)])
    images[torch.arange(len(labels)), 0, 0, labels] = 1.0  # a pixel in the corner tells the class
    return images


def digit_results(reconstructor):
    widths, shears = torch.tensor([2.0, 3, 4, 5, 6, 4]), torch.tensor([0.3, -0.2, 0.1, 0.4, 0.0, -0.4])
    labels = torch.arange(6) % 3
    images = bars(widths, shears, labels)
    rows, classes = swap_pairs(labels, 3, 100, seeded())
    style = torch.stack((widths, shears), 1)
    return digit_swaps(reconstructor, SeesTheClass(), style, images, labels, rows, classes, batch_size=4)


def test_perfect_digit_swaps_are_recognised_and_keep_slant_and_thickness():
    results = digit_results(lambda style, labels: bars(*style.T, labels))
    assert results["classifier_accuracy"] == results["swap_recognised"] == results["reconstruction_recognised"] == 1
    assert results["swap_slant_correlation"] > 0.999 and results["swap_thickness_correlation"] > 0.999


def test_digits_that_keep_their_class_are_not_recognised_as_swaps():
    results = digit_results(lambda style, labels: bars(*style.T, torch.zeros_like(labels)))
    assert results["swap_recognised"] == pytest.approx(1 / 3)  # only where class 0 was wanted


def test_digits_that_lose_their_style_do_not_correlate():
    results = digit_results(lambda style, labels: bars([3.0] * len(labels), [0.1] * len(labels), labels))
    assert results["swap_recognised"] == 1
    assert results["swap_slant_correlation"] < 0.5  # the pixel that tells the class leans a little


def test_the_classifier_that_judges_learns_and_is_the_same_for_the_same_seed():
    labels = torch.arange(400) % 2
    images = 0.3 * torch.rand(400, 1, 12, 12, generator=seeded())
    images[labels == 1, :, 3:6] += 0.6
    first, second = (train_classifier(images, labels, 2, generator=seeded()) for _ in range(2))
    assert (first(images).argmax(1) == labels).float().mean() > 0.99
    assert all(map(torch.equal, first.parameters(), second.parameters()))


def test_what_a_code_holds_is_read_and_what_it_does_not_hold_is_not():
    labels = torch.arange(600) % 3
    noise = torch.randn(600, 2, generator=seeded())
    telling, half = F.one_hot(labels, 3) + 0.01 * noise[:, :1], slice(0, 300)
    found = readable("a", telling[half], labels[half], telling[300:], labels[300:], probes=PROBES)
    assert found == {"a_accuracy": 1.0, "a_knn_accuracy": 1.0, "a_chance": pytest.approx(1 / 3)}
    silent = readable("a", noise[half], labels[half], noise[300:], labels[300:], probes=PROBES)
    assert silent["a_accuracy"] < 0.45 and silent["a_knn_accuracy"] < 0.45
    # A ring around a spot: no line parts them, but neighbours do.
    angle = 2 * torch.pi * torch.rand(600, generator=seeded())
    ring = torch.stack((angle.cos(), angle.sin()), 1) * (torch.arange(600) % 2)[:, None] + 0.1 * noise
    parted = readable("a", ring[half], torch.arange(300) % 2, ring[300:], torch.arange(300) % 2, probes=PROBES)
    assert parted["a_knn_accuracy"] > 0.95 > 0.8 > parted["a_accuracy"]


def test_the_swap_grid_has_the_row_s_style_the_column_s_class_a_rule_and_a_black_corner():
    styles, classes = torch.tensor([1, 3]), torch.tensor([0, 2])
    images = image_of(styles, classes)
    grid = swap_grid(perfect, style_of(images), images, classes)
    assert grid.shape == (3, 2 + RULE + 4, 2 + RULE + 4)
    assert (grid[:, :2, :2] == 0).all()  # the corner
    assert (grid[:, 2 : 2 + RULE] == 1).all() and (grid[:, :, 2 : 2 + RULE] == 1).all()
    for i in range(2):
        cells = slice(2 + RULE + 2 * i, 4 + RULE + 2 * i)
        torch.testing.assert_close(grid[:1, :2, cells], images[i])
        torch.testing.assert_close(grid[:1, cells, :2], images[i])
        for j in range(2):
            cell = grid[:1, cells, 2 + RULE + 2 * j : 4 + RULE + 2 * j]
            torch.testing.assert_close(cell, image_of(styles[i : i + 1], classes[j : j + 1])[0])


def test_an_interpolation_goes_from_one_style_to_the_other_in_every_class():
    picture = interpolation(perfect, torch.tensor([[0.0], [2.0]]), N_CLASSES, 3)
    for label in range(N_CLASSES):
        for step in range(3):
            cell = picture[:1, 2 * label : 2 * label + 2, 2 * step : 2 * step + 2]
            torch.testing.assert_close(cell, image_of(torch.tensor([step]), torch.tensor([label]))[0])


class Verdict(nn.Module):
    """A discriminator with one weight, that calls bright images real."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(float(weight)))

    def forward(self, images):
        bright = (images.flatten(1).mean(1) - 0.5) * self.weight
        return torch.stack((-bright, bright), 1)


SETTINGS = disenib.Settings(
    n_samples=1, style_std=0.1, class_std=1.0, est_style_std=0.1, est_class_std=0.1, emb_radius=3.0, lambda_dec=1.0,
    lambda_rec=10.0, lambda_wall=10.0, lambda_est=0.5, lambda_est_zc=0.05, lambda_disc=0.1,
)


class Constant(nn.Module):
    """A reconstructor whose images all have one brightness."""

    def __init__(self, brightness):
        super().__init__()
        self.brightness = nn.Parameter(torch.tensor(brightness))

    def forward(self, style, labels):
        return self.brightness.expand(len(labels), 1, 2, 2)


def networks_of(brightness):
    return disenib.Networks(
        nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), nn.Linear(2, 3),
        Constant(brightness), None,
    )


def update_discriminator(weight, limit_acc):
    discriminator = Verdict(weight)
    optimizer = torch.optim.SGD(discriminator.parameters(), lr=0.1)
    images, labels = torch.full((6, 1, 2, 2), 0.9), torch.arange(6) % 3
    terms = disenib.discriminator_update(
        networks_of(0.1), discriminator, optimizer, images, labels, SETTINGS, limit_acc=limit_acc,
        autocast=nullcontext, generator=seeded(),
    )
    return {name: term.item() for name, term in terms._asdict().items()}, discriminator.weight.item()



def test_the_discriminator_learns_unless_it_is_right_often_enough():
    terms, weight = update_discriminator(weight=1.0, limit_acc=0.8)  # right in all: it waits
    assert terms["disc_accuracy"] == 1 and terms["disc_moved"] == 0 and weight == 1.0
    terms, weight = update_discriminator(weight=-1.0, limit_acc=0.8)  # wrong in all: it moves the right way
    assert terms["disc_accuracy"] == 0 and terms["disc_moved"] == 1 and weight > -1.0
    # Logits ±0.4 for real and for reconstructed alike: twice -log(sigmoid(-0.8)).
    assert terms["disc_loss"] == pytest.approx(2 * np.log(1 + np.exp(0.8)), rel=1e-4)


def test_the_judgement_moves_the_reconstructor_towards_real_and_leaves_the_discriminator_alone():
    networks, discriminator = networks_of(0.1), Verdict(1.0)
    images, labels = torch.full((6, 1, 2, 2), 0.1), torch.arange(6) % 3  # nothing to reconstruct better
    loss, terms = disenib.main_objective(
        networks, images, labels, SETTINGS, moving=None, discriminator=discriminator, generator=seeded()
    )
    by_name = {name: term.item() for name, term in terms._asdict().items()}
    assert by_name["loss_disc"] == pytest.approx(np.log(1 + np.exp(0.8)), rel=1e-4)
    plain, _ = disenib.main_objective(networks, images, labels, SETTINGS, moving=None, generator=seeded())
    assert (loss - plain).item() == pytest.approx(0.1 * by_name["loss_disc"], rel=1e-4)
    networks_parameters = [parameter for network in networks[:4] for parameter in network.parameters()]
    loss.backward(inputs=networks_parameters)
    assert networks.reconstructor.brightness.grad < 0 and discriminator.weight.grad is None
