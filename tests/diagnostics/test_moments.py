import numpy as np
import torch

from snrkit.diagnostics.moments import BlockMoments, Moments, PointMoments
from tests.zoo import numbers


def gradients(seed, draws, groups):
    return [numbers(seed, draws, groups, 3, 4), 5 + 2 * numbers(seed + 1, draws, groups, 6)]


def points(tensors, sizes):
    found = PointMoments()
    start = 0
    for size in sizes:
        found.add([t[start : start + size] for t in tensors])
        start += size
    return found


def test_streaming_equals_two_passes():
    tensors = gradients(1, 23, 2)
    for sizes in ((23,), (1,) * 23, (7, 1, 15)):
        found = points(tensors, sizes)
        torch.testing.assert_close(found.mean, [t.mean(0) for t in tensors])
        torch.testing.assert_close(found.m2, [22 * t.var(0) for t in tensors])


def test_large_offsets_do_not_cancel():
    tensors = [1e6 + numbers(2, 40, 1, 5)]
    found = points(tensors, (1, 19, 20))
    torch.testing.assert_close(found.m2, [39 * tensors[0].var(0)], rtol=1e-8, atol=0)


def test_a_constant_coordinate_has_exactly_zero_variance():
    constant = torch.full((20, 2, 3), 0.1, dtype=torch.float32)
    found = points([constant], (7, 1, 12))
    assert (found.m2[0] == 0).all()
    block = BlockMoments.fold([found], 2)
    merged = Moments([block, block, block]).merged()
    assert (merged[2] == 0).all()


def test_groups_average_and_their_variances_add():
    tensors = gradients(3, 30, 2)
    block = BlockMoments.fold(
        [points([t[:, :1] for t in tensors], (30,)), points([t[:, 1:] for t in tensors], (30,))], 2
    )
    flat = torch.cat([t.flatten(2) for t in tensors], dim=2)
    np.testing.assert_allclose(block.mean, flat.mean((0, 1)))
    np.testing.assert_allclose(block.variance, flat.var(0).sum(0) / 4)


def test_merged_blocks_equal_all_draws():
    tensors = gradients(4, 25, 1)
    flat = torch.cat([t.flatten(2) for t in tensors], dim=2)[:, 0].numpy()
    cuts = [(0, 7), (7, 12), (12, 25)]
    moments = Moments([BlockMoments.fold([points([t[a:b] for t in tensors], (b - a,))], 1) for a, b in cuts])
    draws, mean, variance = moments.merged()
    assert draws == moments.draws == 25
    np.testing.assert_allclose(mean, flat.mean(0))
    np.testing.assert_allclose(variance, flat.var(0, ddof=1))
    draws, mean, variance = moments.merged(np.array([1.0, 0.0, 1.0]))
    chosen = np.concatenate([flat[:7], flat[12:]])
    np.testing.assert_allclose(mean, chosen.mean(0))
    np.testing.assert_allclose(variance, chosen.var(0, ddof=1))


def test_draws_of_one_shape_and_two_types_keep_their_digits():
    moments, both = PointMoments(), numbers(0, 5, 1, 3)
    tiny = 1e-30 * both
    moments.add([both.float(), tiny])
    torch.testing.assert_close(moments.m2[1], tiny.var(dim=0) * 4, rtol=1e-12, atol=0)
