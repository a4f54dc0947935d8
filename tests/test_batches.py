import pytest
import torch

from dataloader.batches import ShuffledBatches


def batches_of(n=23, batch_size=5, seed=0):
    return ShuffledBatches(n, batch_size, torch.Generator().manual_seed(seed))


def test_a_pass_draws_every_item_at_most_once_and_drops_the_partial_batch():
    drawn = torch.cat(list(batches_of().one_pass()))
    assert len(drawn) == 20 and len(drawn.unique()) == 20 and drawn.max() < 23


def test_every_pass_is_shuffled_anew_and_the_seed_decides():
    batches = batches_of()
    first, second = (torch.cat(list(batches.one_pass())) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, torch.cat(list(batches_of().one_pass())))
    assert not torch.equal(first, torch.cat(list(batches_of(seed=1).one_pass())))


@pytest.mark.parametrize("taken", range(9))  # 4 batches a pass: within a pass, at its last batch, and in the next one
def test_a_stream_restored_at_any_batch_goes_on_with_the_same_batches(taken):
    original = batches_of()
    stream = original.endless()
    for _ in range(taken):
        next(stream)
    state = original.state_dict()
    restored = batches_of(seed=99)
    restored.load_state_dict(state)
    continued = restored.endless()
    for _ in range(10):
        assert torch.equal(next(stream), next(continued))
