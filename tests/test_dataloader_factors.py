"""Numbering images by their factors, and holding styles out of training."""

import numpy as np
import pytest
import torch

from dataloader.factored import held_out_styles, split_by_style
from dataloader.factors import Factors

FACTORS = Factors(("letter", "size", "slant"), (3, 4, 5))
VALUES = FACTORS.values(np.arange(60))
STYLES = VALUES[:20, 1:]
NONE = np.empty((0, 2), dtype=int)


def split(holdout, keep=NONE):
    images = np.arange(60, dtype=np.uint8).reshape(60, 1, 1, 1)
    return split_by_style(
        "letters", FACTORS, VALUES, images, source="here", sha256={}, holdout=holdout, keep=keep
    )


def test_images_are_numbered_with_the_last_factor_running_fastest():
    assert FACTORS.index([0, 0, 4]) == 4
    assert FACTORS.index([0, 1, 0]) == 5
    assert FACTORS.index([2, 3, 4]) == 59
    assert VALUES[27].tolist() == [1, 1, 2]


def test_factor_values_and_numbers_turn_into_each_other():
    assert np.array_equal(FACTORS.index(VALUES), np.arange(60))
    assert np.array_equal(FACTORS.values(FACTORS.index(VALUES[::-1])), VALUES[::-1])
    assert FACTORS.values(np.zeros((2, 7), dtype=int)).shape == (2, 7, 3)


def test_what_is_out_of_range_is_refused():
    for values in ([3, 0, 0], [0, 0, -1]):
        with pytest.raises(ValueError):
            FACTORS.index(values)
    with pytest.raises(ValueError):
        FACTORS.values(60)


def test_both_splits_have_every_class_in_the_same_styles_in_the_same_order():
    letters = split(0.25)
    for part, n_styles in ((letters.train, 15), (letters.test, 5)):
        assert part.labels.tolist() == [letter for letter in range(3) for _ in range(n_styles)]
        by_class = part.factors.reshape(3, n_styles, 3)
        assert torch.equal(by_class[:, :, 0], part.labels.reshape(3, n_styles))
        assert (by_class[:, :, 1:] == by_class[:1, :, 1:]).all()


def test_every_image_is_in_one_of_the_splits_with_its_own_factors():
    letters = split(0.25)
    numbers = []
    for part in (letters.train, letters.test):
        pixels = part.images.flatten().mul(255).round().to(torch.int64)
        assert np.array_equal(FACTORS.index(part.factors.numpy()), pixels)
        numbers += pixels.tolist()
    assert sorted(numbers) == list(range(60))


@pytest.mark.parametrize("share, n_held_out", [(0.0, 0), (0.1, 2), (0.12, 2), (0.5, 10)])
def test_the_share_of_styles_is_held_out(share, n_held_out):
    assert held_out_styles(STYLES, share, NONE).sum() == n_held_out


def test_a_share_of_zero_leaves_the_test_set_empty():
    letters = split(0.0)
    assert letters.train.images.shape == (60, 1, 1, 1)
    assert letters.test.images.shape == (0, 1, 1, 1)


def test_styles_to_keep_are_never_held_out():
    keep = STYLES[held_out_styles(STYLES, 0.5, NONE)]
    held_out = held_out_styles(STYLES, 0.5, keep)
    assert held_out.sum() == 10
    assert not {*map(tuple, STYLES[held_out])} & {*map(tuple, keep)}


def test_the_choice_is_always_the_same_and_leaves_the_random_state_alone():
    np.random.seed(1)
    first = held_out_styles(STYLES, 0.3, NONE)
    np.random.seed(2)
    state = np.random.get_state()[1].copy()
    assert np.array_equal(held_out_styles(STYLES, 0.3, NONE), first)
    assert np.array_equal(np.random.get_state()[1], state)
