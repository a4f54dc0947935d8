"""DCI, where it is known; and what the probes find that a linear one cannot."""

import numpy as np
import pytest
import torch

from modellib.evaluations.code_content import readable
from modellib.evaluations.dci import completeness, dci, disentanglement


def seeded():
    return torch.Generator().manual_seed(0)


def measure(style: torch.Tensor, label: torch.Tensor, factors: torch.Tensor) -> dict[str, float]:
    half = len(factors) // 2
    codes = {"style": style.float(), "class": label.float()}
    return dci({name: code[:half] for name, code in codes.items()}, factors[:half],
               {name: code[half:] for name, code in codes.items()}, factors[half:])


FACTORS = torch.stack([torch.randint(0, size, (1200,), generator=seeded().manual_seed(size)) for size in (3, 4, 5)], 1)
SILENT = torch.randn(1200, 2, generator=seeded())


def test_one_dimension_a_factor_is_perfect_whatever_else_the_codes_hold():
    found = measure(torch.cat((FACTORS[:, 1:], SILENT), 1), torch.cat((FACTORS[:, :1], SILENT), 1), FACTORS)
    assert found == {name: pytest.approx(1, abs=0.01) for name in found} and len(found) == 5


def test_noise_on_top_of_perfect_codes_costs_them_little():
    """As DisenIB's: style with a std of 0.1, class with one of 1; most of the dimensions hold nothing else."""
    generator, n = seeded(), 6000
    factors = torch.stack([torch.randint(0, size, (n,), generator=generator) for size in (3, 2, 16)], 1)
    style, label = torch.zeros(n, 16), torch.zeros(n, 16)
    style[:, :2] = (factors[:, 1:] / torch.tensor([1, 15]) - 0.5) * 4
    label[:, 0] = (factors[:, 0] - 1) * 3
    style, label = (
        code + std * torch.randn(code.shape, generator=generator) for code, std in ((style, 0.1), (label, 1))
    )
    found = measure(style, label, factors)
    assert found["dci_codes_disentanglement"] > 0.98 and found["dci_codes_completeness"] > 0.98
    assert found["dci_disentanglement"] > 0.95 and found["dci_completeness"] > 0.95
    leaking = measure(style, style + label, factors)
    assert leaking["dci_codes_disentanglement"] < 0.9


def test_codes_that_have_changed_places_are_as_disentangled_but_the_style_in_both_is_not():
    swapped = measure(FACTORS[:, :1], FACTORS[:, 1:], FACTORS)
    assert swapped["dci_codes_disentanglement"] == pytest.approx(1, abs=0.01)
    both = measure(FACTORS[:, 1:2], FACTORS[:, [0, 2]], FACTORS)  # one style factor beside the label
    assert both["dci_disentanglement"] == pytest.approx(1, abs=0.01)  # of dimensions it still is
    expected = completeness(np.array([[0.0, 0.5], [1.0, 0.5]]))
    assert both["dci_codes_completeness"] == pytest.approx(expected, abs=0.02) and expected == pytest.approx(0.5)


def test_noise_informs_of_nothing_and_a_factor_that_never_varies_is_left_out():
    factors = torch.cat((FACTORS, torch.zeros(1200, 1).long()), 1)
    found = measure(SILENT, torch.randn(1200, 1, generator=seeded()), factors)
    assert found["dci_disentanglement"] < 0.05 and found["dci_completeness"] < 0.05
    assert found["dci_informativeness"] == pytest.approx((1 / 3 + 1 / 4 + 1 / 5) / 3, abs=0.04)


def test_disentanglement_and_completeness_of_an_importance_worked_by_hand():
    importance = np.array([[1.0, 0.5], [0.0, 0.5]])
    split = -(1 / 3) * np.log2(1 / 3) - (2 / 3) * np.log2(2 / 3)  # of the first dimension: 2 to 1
    assert disentanglement(importance) == pytest.approx(0.75 * (1 - split) + 0.25 * 1)
    assert completeness(importance) == pytest.approx((1 + 0) / 2)
    assert disentanglement(np.ones((3, 4))) == pytest.approx(0) == completeness(np.ones((3, 4)))


def test_a_trained_probe_finds_a_label_that_no_linear_one_can():
    signs = torch.randn(2000, 2, generator=seeded())
    label = (signs.prod(1) > 0).long()
    found = readable("label", signs[:1500], label[:1500], signs[1500:], label[1500:],
                     probes=("accuracy", "knn_accuracy", "mlp_accuracy"))
    assert found["label_accuracy"] < 0.6 and min(found["label_knn_accuracy"], found["label_mlp_accuracy"]) > 0.9
    silent = readable("label", signs[:1500], label.roll(7)[:1500], signs[1500:], label.roll(7)[1500:],
                      probes=("mlp_accuracy",))
    assert abs(silent["label_mlp_accuracy"] - 0.5) < 0.08
