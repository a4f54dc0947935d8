import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modellib.evaluations.adversarial_robustness import fgsm


def mean_code(mean, std):
    return mean


def attack(model, images, labels, name, epsilons=(0.1, 0.2, 0.3), **changes):
    return fgsm(
        lambda x: (x, torch.tensor(0.0)), model, images, labels,
        **{"attack": name, "epsilons": epsilons, "draw": mean_code, "batch_size": 7, **changes},
    )


def linear_model():
    """logits = (x0, 0.5 x1): class 0 while x0 >= x1 / 2."""
    model = nn.Linear(2, 2, bias=False)
    model.weight.data = torch.tensor([[1.0, 0.0], [0.0, 0.5]])
    return model


def test_a_linear_model_worked_by_hand():
    images = torch.tensor([[0.5, 0.7], [0.2, 0.1], [0.25, 0.2], [-0.4, 0.6], [0.0, 0.5]])
    labels = torch.tensor([0, 0, 0, 0, 1])
    # Logits (0.5, 0.35) (0.2, 0.05) (0.25, 0.1) (-0.4, 0.3) (0, 0.25): all right but the fourth.
    # −logit_y lowers x0 by ε for class 0 (margins 0.15) and x1 by ε for class 1 (margin 0.25 against ε / 2).
    stayed, robust = attack(linear_model(), images, labels, "negative_logit")
    assert stayed == {"0.1": 1.0, "0.2": 0.25, "0.3": 0.25}
    assert robust == {"0.1": 0.8, "0.2": 0.2, "0.3": 0.2}
    # The cross entropy also raises the other logit: margins shrink by 1.5 ε. All are 0.15 but the last, 0.25.
    stayed, robust = attack(linear_model(), images, labels, "cross_entropy", epsilons=(0.09, 0.11, 0.16, 0.17))
    assert stayed == {"0.09": 1.0, "0.11": 0.25, "0.16": 0.25, "0.17": 0.0}
    assert robust == {"0.09": 0.8, "0.11": 0.2, "0.16": 0.2, "0.17": 0.0}


def test_attacked_images_stay_in_the_range_of_images():
    seen = []

    def remembering(x):
        seen.append(x.detach().clone())
        return F.pad(1.5 - x.abs(), (0, 1))  # class 0, less so the nearer x is to the end of the range

    attack(remembering, torch.tensor([[-0.95], [0.95], [1.0]]), torch.tensor([0, 0, 0]), "negative_logit")
    assert torch.equal(torch.cat(seen[2:]).flatten(), torch.tensor([-1.0, 1.0, 1.0] * 3))  # at each of three epsilons


def test_a_gradient_of_zero_does_not_move_the_image():
    def flat(x):
        return F.pad(0 * x, (0, 1), value=-1.0)  # always class 0, whatever the image

    stayed, _ = attack(flat, torch.zeros(3, 1), torch.zeros(3, dtype=torch.long), "cross_entropy")
    assert stayed == {"0.1": 1.0, "0.2": 1.0, "0.3": 1.0}


def test_an_epsilon_that_is_given_twice_counts_once():
    images, labels = torch.tensor([[0.5, 0.0], [0.0, 0.5]]), torch.tensor([0, 0])
    once, twice = (attack(linear_model(), images, labels, "cross_entropy", epsilons=(0.1,) * n) for n in (1, 2))
    assert once == twice


def test_nothing_right_at_first_gives_zero_and_no_error():
    stayed, robust = attack(linear_model(), torch.tensor([[1.0, 0.0]]), torch.tensor([1]), "negative_logit")
    assert set(stayed.values()) | set(robust.values()) == {0.0}


def test_codes_are_drawn_afresh_for_the_filter_the_gradient_and_each_epsilon():
    draws = []

    def counting(mean, std):
        draws.append(len(mean))
        return mean

    images = torch.tensor([[0.5, 0.0], [0.0, 0.5], [0.5, 0.0]])
    attack(linear_model(), images, torch.tensor([0, 0, 0]), "negative_logit", draw=counting)
    assert draws == [3, 2, 2, 2, 2]  # all images at first, then the two that are right


@pytest.mark.parametrize("name", ["negative_logit", "cross_entropy"])
def test_the_networks_keep_their_mode_and_have_no_gradients(name):
    model = linear_model().train()
    attack(model, torch.tensor([[0.5, 0.0]]), torch.tensor([0]), name)
    assert model.training and model.weight.grad is None
