import torch
from torch import nn

from modellib.evaluations.accuracy import accuracy
from modellib.evaluations.common import evaluation_mode


def seeded():
    return torch.Generator().manual_seed(0)


def test_accuracy_of_the_mean_code_ignores_the_noise_and_that_of_a_sample_does_not():
    images = torch.eye(2).repeat(500, 1)  # the code is the image; class 0 where its first entry is the larger
    labels = images.argmax(1)
    result = accuracy(lambda x: (x, torch.ones(())), nn.Identity(), images, labels, generator=seeded(), batch_size=64)
    assert result["accuracy_mean_code"] == 1.0
    # The difference of the two entries is N(1, 2) in favour of the right class: P(> 0) = Phi(1 / sqrt 2) = 0.760.
    assert abs(result["accuracy"] - 0.760) < 0.04


def test_accuracy_counts_over_the_whole_set_whatever_the_batches():
    images = torch.randn(103, 5, generator=seeded())
    labels = torch.randint(5, (103,), generator=seeded())
    expected = (images.argmax(1) == labels).double().mean().item()
    for batch_size in (1, 10, 103, 1000):
        result = accuracy(
            lambda x: (x, torch.tensor(0.0)), nn.Identity(), images, labels, generator=seeded(), batch_size=batch_size
        )
        assert result == {"accuracy": expected, "accuracy_mean_code": expected}


def test_evaluation_mode_is_given_back_module_by_module_even_after_an_error():
    network = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
    network[1].eval()
    before = [module.training for module in network.modules()]
    try:
        with evaluation_mode(network, len):  # a plain callable has no mode
            assert not any(module.training for module in network.modules())
            raise RuntimeError
    except RuntimeError:
        pass
    assert [module.training for module in network.modules()] == before == [True, True, False, False]
