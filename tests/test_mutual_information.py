import math
import pathlib
import subprocess
import sys

import pytest
import torch
from scipy.integrate import quad

from modellib.evaluations.far_codes import posterior_entropy_of_far_codes
from modellib.evaluations.mutual_information import mutual_information_xt, posterior_entropy

ROOT = pathlib.Path(__file__).parents[1]


def direct_entropy(mean, std, code):
    """Posterior entropy of every draw by direct summation in float64: (N,)."""
    images = torch.distributions.Normal(mean.double(), std.double().expand_as(mean))
    log_density = images.log_prob(code.double()[:, None]).sum(2)  # (N, 1, D) -> (draw, image, D) -> (N, N)
    log_posterior = log_density - log_density.logsumexp(1, keepdim=True)
    return -(log_posterior.exp() * log_posterior).sum(1)


def encodings(std_kind, offset, layout, dimensions, n=200):
    """Means about one std apart, so that entropies are neither 0 nor log N, near the origin or far away."""
    generator = torch.Generator().manual_seed(0)
    if std_kind == "mixed per image":
        std = 10 ** (4 * torch.rand(n, 1, generator=generator) - 3).repeat(1, dimensions)
    elif std_kind == "mixed per dimension":
        std = 10 ** (4 * torch.rand(n, dimensions, generator=generator) - 3)
    elif std_kind.startswith("shared"):
        std = torch.tensor(float(std_kind.split()[1]))
    else:
        std = float(std_kind) * (0.9 + 0.2 * torch.rand(n, dimensions, generator=generator))
    corners = torch.ones(1, dimensions)
    if layout == "clusters":
        corners = 2.0 * torch.randint(2, (5, dimensions), generator=generator) - 1
    place = offset * corners[torch.randint(len(corners), (n,), generator=generator)]  # (N, D)
    mean = place + 1.5 / math.sqrt(dimensions) * std * torch.randn(n, dimensions, generator=generator)
    return mean, std, mean + std * torch.randn(n, dimensions, generator=generator)


SHARED = ["shared 0.001", "shared 0.1", "shared 10"]
STDS = ["0.001", "0.1", "10", *SHARED, "mixed per image", "mixed per dimension"]


@pytest.mark.parametrize("dimensions", [1, 16, 64])
@pytest.mark.parametrize("layout, offset", [("together", 0), ("together", 100), ("clusters", 100)])
@pytest.mark.parametrize("std_kind", STDS)
def test_every_entropy_is_within_1e_4_nats_of_direct_summation(std_kind, layout, offset, dimensions):
    mean, std, draw = encodings(std_kind, offset, layout, dimensions)
    for code in (draw, mean):
        expected = direct_entropy(mean, std, code)
        torch.testing.assert_close(posterior_entropy(mean, std, code), expected, atol=1e-4, rtol=0)


def test_blocks_of_any_number_give_the_figure_and_standard_error_of_direct_summation():
    mean, std, code = encodings("mixed per dimension", 1, "clusters", 3, n=1600)  # 3 x 3 blocks
    entropy = direct_entropy(mean, std, code)
    result = mutual_information_xt(mean, std, code)
    assert result["mi_xt"] == pytest.approx(math.log(1600) - entropy.mean().item(), abs=1e-4)
    assert result["mi_xt_stderr"] == pytest.approx(entropy.std().item() / math.sqrt(1600), rel=1e-3)
    assert result["mi_xt_ceiling"] == math.log(1600)


def test_a_far_better_match_in_a_later_block_takes_over():
    n = 2000
    mean, std = torch.zeros(n, 2), torch.full((n, 2), 10.0)
    code = torch.full((n, 2), 50.0)
    mean[-1], std[-1] = 50.0, 1e-3
    assert posterior_entropy(mean, std, code).max() < 1e-4


def test_images_that_encode_alike_share_no_information():
    result = mutual_information_xt(torch.full((900, 4), 7.0), torch.full((900, 4), 0.1), torch.randn(900, 4))
    assert result["mi_xt"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("log_std", [*range(-60, -10, 2), -8, -4])
@pytest.mark.parametrize("shared", [True, False])
def test_separate_images_give_log_n_however_small_the_std_is(log_std, shared):
    """Also where codes are so near to their means that float32 does not tell them apart."""
    generator = torch.Generator().manual_seed(1)
    mean = 5 * torch.randn(1347, 16, generator=generator)
    std = torch.tensor(float(log_std)).exp()
    if not shared:
        std = std * (0.5 + torch.rand(1347, 16, generator=generator))
    result = mutual_information_xt(mean, std, mean + std * torch.randn(1347, 16, generator=generator))
    assert result["mi_xt"] == pytest.approx(math.log(1347), abs=1e-6)


@pytest.mark.parametrize("dimensions", [1, 16])
@pytest.mark.parametrize("offset", [1e3, 1e6, 1e9])
@pytest.mark.parametrize("std_kind", STDS)
def test_far_clusters_are_within_1e_4_nats_of_direct_summation_too(std_kind, offset, dimensions):
    mean, std, draw = encodings(std_kind, offset, "clusters", dimensions)
    for code in (draw, mean):
        expected = direct_entropy(mean, std, code)
        torch.testing.assert_close(posterior_entropy(mean, std, code), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("std_kind", STDS)
def test_both_ways_to_sum_agree_where_both_are_right(std_kind):
    mean, std, code = encodings(std_kind, 1, "clusters", 16)
    far = posterior_entropy_of_far_codes(mean, std, code)
    torch.testing.assert_close(posterior_entropy(mean, std, code), far, atol=1e-4, rtol=0)


@pytest.mark.parametrize("clusters", [2, 10])
@pytest.mark.parametrize("shared", [True, False])
def test_far_clusters_of_equal_size_give_log_of_their_number(clusters, shared):
    mean = 100.0 * torch.arange(clusters).repeat(100)[:, None].expand(-1, 3)
    std = torch.tensor(0.01) if shared else torch.full_like(mean, 0.01)
    code = mean + 0.01 * torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    assert mutual_information_xt(mean, std, code)["mi_xt"] == pytest.approx(math.log(clusters), abs=1e-5)


@pytest.mark.parametrize("means, stds", [((-1, 1), (1, 1)), ((0, 2), (0.5, 1.5)), ((0, 0), (0.1, 3))])
def test_two_point_mixture_agrees_with_numerical_integration(means, stds):
    def density(t, k):
        return math.exp(-0.5 * ((t - means[k]) / stds[k]) ** 2) / (stds[k] * math.sqrt(2 * math.pi))

    def information_density(t):  # sum_k p(k) q(t|k) log(q(t|k) / q(t))
        q = [density(t, 0), density(t, 1)]
        return sum(0.5 * x * math.log(x / (0.5 * sum(q))) for x in q if x > 0)

    exact, _ = quad(information_density, -40, 40, points=means, limit=500)

    # N / 2 copies of either point: copies cannot be told apart, so I(X;T) is that of the two points.
    n = 3000
    mean, std = (torch.tensor(x).repeat(n // 2)[:, None] for x in (means, stds))
    code = mean + std * torch.randn(n, 1, generator=torch.Generator().manual_seed(0))
    result = mutual_information_xt(mean, std, code)
    assert 0 < result["mi_xt_stderr"] < 0.02
    assert abs(result["mi_xt"] - exact) < 4 * result["mi_xt_stderr"]


def test_the_same_inputs_give_the_same_bits():
    arguments = encodings("mixed per dimension", 1, "together", 16, n=1000)
    assert mutual_information_xt(*arguments) == mutual_information_xt(*arguments)


def test_progress_wraps_the_blocks():
    seen = []

    def progress(blocks):
        for block in blocks:
            yield block
            seen.append(block)

    arguments = encodings("0.1", 0, "together", 2, n=2000)
    assert mutual_information_xt(*arguments, progress=progress) == mutual_information_xt(*arguments)
    assert len(seen) > 1


PEAK_MEMORY = """
import re, torch
from modellib.evaluations.mutual_information import posterior_entropy

def peak():  # MB
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

torch.set_num_threads(1)
mean, std, code = torch.randn(16_000, 16), torch.ones(16_000, 16), torch.randn(16_000, 16)
for n in (100, 4_000, 16_000):  # the first one loads libraries
    posterior_entropy(mean[:n], std[:n], code[:n])
    print(peak())
"""


@pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="reads the peak from /proc")
def test_memory_does_not_grow_with_the_square_of_the_number_of_images():
    output = subprocess.check_output([sys.executable, "-c", PEAK_MEMORY], cwd=ROOT, text=True)
    start, small, large = map(float, output.split())
    # An N x N float32 matrix would take 64 and 1024 MB; the factors, (N, 2 D + 1) in float64, 2 and 8 MB.
    assert small - start < 40
    assert large - small < 40


GOOD = torch.zeros(5, 2), torch.ones(5, 2), torch.zeros(5, 2)


@pytest.mark.parametrize(
    "position, bad",
    [
        (0, torch.zeros(4, 2)),
        (0, torch.zeros(5)),
        (1, torch.ones(5, 1)),
        (1, torch.ones(2)),
        (2, torch.zeros(5, 3)),
        (0, torch.full((5, 2), math.nan)),
        (1, torch.full((5, 2), math.inf)),
        (2, torch.full((5, 2), math.inf)),
        (1, torch.tensor(0.0)),
        (1, -torch.ones(5, 2)),
    ],
)
def test_wrong_shapes_values_that_are_not_finite_and_stds_not_positive_are_refused(position, bad):
    arguments = list(GOOD)
    arguments[position] = bad
    with pytest.raises(ValueError):
        mutual_information_xt(*arguments)


@pytest.mark.parametrize("std", [torch.tensor(0.5), torch.tensor([0.5]), torch.tensor([[0.5]])])
def test_a_shared_std_may_have_any_shape_of_one_element(std):
    mean, _, code = encodings("0.1", 0, "together", 20)
    expected = direct_entropy(mean, std, code)
    torch.testing.assert_close(posterior_entropy(mean, std, code), expected, atol=1e-4, rtol=0)
