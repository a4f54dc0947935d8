import math

import pytest
import torch
from torch import nn

from modellib.evaluations.information import information, mutual_information_yt


def entropy(probabilities):
    return -sum(p * math.log(p) for p in probabilities if p > 0)


def test_certain_right_predictions_tell_all_about_the_label():
    labels = torch.tensor([0, 1, 1, 2])
    logits = 1000.0 * torch.eye(3)[labels]
    result = mutual_information_yt(logits, labels)
    expected = entropy([1 / 4, 1 / 2, 1 / 4])
    assert result["mi_yt"] == pytest.approx(expected)
    assert result["mi_yt_lower_bound"] == pytest.approx(expected)
    assert result["mi_yt_ceiling"] == pytest.approx(expected)


def test_certain_wrong_predictions_raise_the_published_figure_but_not_the_bound():
    labels = torch.tensor([0, 1])
    logits = torch.tensor([[0.0, 30.0], [30.0, 0.0]])
    result = mutual_information_yt(logits, labels)
    assert result["mi_yt"] == pytest.approx(math.log(2), abs=1e-6)
    assert result["mi_yt_lower_bound"] == pytest.approx(math.log(2) - 30)


def test_both_figures_on_predictions_worked_by_hand():
    predictions = [[0.7, 0.2, 0.1], [0.25, 0.5, 0.25], [1 / 3, 1 / 3, 1 / 3]]
    labels = torch.tensor([0, 1, 1])
    result = mutual_information_yt(torch.tensor(predictions).log(), labels)
    label_entropy = entropy([1 / 3, 2 / 3])
    assert result["mi_yt"] == pytest.approx(label_entropy - sum(map(entropy, predictions)) / 3, abs=1e-6)
    assert result["mi_yt_lower_bound"] == pytest.approx(
        label_entropy + (math.log(0.7) + math.log(0.5) + math.log(1 / 3)) / 3, abs=1e-6
    )


def test_both_informations_are_those_of_one_and_the_same_draw():
    # Far clusters, one per class: a draw tells its class, and nothing about which image of the class it came from.
    labels = torch.arange(4).repeat(25)
    images = 100.0 * torch.eye(4)[labels]
    draws = []

    def draw(mean, std):
        draws.append(mean + std * torch.randn(mean.shape, generator=torch.Generator().manual_seed(0)))
        return draws[-1]

    encoder, decoder = (lambda x: (x, torch.tensor(1.0))), nn.Identity()
    result = information(encoder, decoder, images, labels, draw=draw, batch_size=7)
    assert len(draws) == 1
    assert result["mi_xt"] == pytest.approx(math.log(4), abs=1e-6)
    assert result["mi_yt"] == pytest.approx(math.log(4), abs=1e-6)
    assert result["mi_xt_ceiling"] == pytest.approx(math.log(100))


def test_a_code_without_noise_tells_which_image_it_is_of_and_has_no_density():
    images = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [1.0, 1.0]])  # two of them coincide

    def measure(images):
        labels, encoder = torch.arange(len(images)) % 2, (lambda x: (x, torch.tensor(0.0)))
        return information(encoder, nn.Identity(), images, labels, draw=lambda mean, std: mean, batch_size=3)

    assert measure(images)["mi_xt_deterministic"] == pytest.approx(entropy([1 / 4, 1 / 4, 1 / 2]))
    result = measure(images[:3])
    assert result["mi_xt_deterministic"] == pytest.approx(math.log(3)) == result["mi_xt_ceiling"]
    assert not {"mi_xt", "mi_xt_stderr"} & result.keys() and "mi_yt" in result
