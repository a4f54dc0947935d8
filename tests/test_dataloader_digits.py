import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import dataloader


@pytest.fixture(scope="module")
def digits():
    return dataloader.load("digits", "unused")


def test_digits_have_the_promised_shapes_types_and_range(digits):
    assert (digits.name, digits.n_classes) == ("digits", 10)
    assert digits.train.images.shape == (1347, 1, 8, 8)
    assert digits.test.images.shape == (450, 1, 8, 8)
    for split in (digits.train, digits.test):
        assert split.images.dtype == torch.float32
        assert split.labels.dtype == torch.int64
        assert (split.images.min(), split.images.max()) == (0, 1)
        assert split.labels.shape == split.images.shape[:1]


def test_flat_rows_are_the_images_rescaled_to_minus_one_to_one(digits):
    before = digits.test.images.clone()
    flat = digits.test.flat()
    assert flat.shape == (450, 64)
    assert torch.equal(flat.reshape(450, 1, 8, 8), 2 * before - 1)
    assert torch.equal(digits.test.images, before)


def test_the_two_splits_are_scikit_learns_digits_each_once(digits):
    def rows(images, labels):
        return sorted(map(tuple, np.column_stack([images.reshape(len(images), -1), labels]).tolist()))

    images = torch.cat([digits.train.images, digits.test.images]).numpy()
    labels = torch.cat([digits.train.labels, digits.test.labels]).numpy()
    original = load_digits()
    assert rows(images * 16, labels) == rows(original.images, original.target)


def test_the_split_is_stratified(digits):
    counts = torch.bincount(digits.train.labels) + torch.bincount(digits.test.labels)
    expected = counts * 450 / 1797
    assert (torch.bincount(digits.test.labels) - expected).abs().max() <= 1


def test_the_split_is_the_same_whatever_the_random_state(digits):
    np.random.seed(5)
    torch.manual_seed(5)
    again = dataloader.load("digits", "unused")
    assert torch.equal(again.train.images, digits.train.images)
    assert torch.equal(again.test.labels, digits.test.labels)


def test_loading_leaves_the_random_state_alone():
    np.random.seed(5)
    torch.manual_seed(5)
    states = np.random.get_state()[1].copy(), torch.get_rng_state()
    dataloader.load("digits", "unused")
    assert np.array_equal(np.random.get_state()[1], states[0])
    assert torch.equal(torch.get_rng_state(), states[1])


def test_an_unknown_name_is_an_error_that_lists_the_known_ones(tmp_path):
    with pytest.raises(dataloader.DatasetError, match="'nmist'.*mnist, fashion_mnist, digits"):
        dataloader.load("nmist", tmp_path)
