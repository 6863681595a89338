"""The noise of dreams stands behind that of samples, whose numbers stay what they are."""

import torch

from snrkit.core.streams import Streams
from snrkit.diagnostics.problem import Problem
from tests.zoo import B, K, M, images, mlp

SIZE = 4


def problems(groups=1):
    model, x = mlp(), images()
    return [Problem.units(model, x, K, Streams(3), groups, dreams=dreams) for dreams in (False, True)]


def test_samples_see_the_noise_that_they_see_without_dreams():
    for groups in (1, 2):
        plain, both = problems(groups)
        for group in range(B):
            own, wide = plain.noise.draw(group, range(1, 4)), both.noise.draw(group, range(1, 4))
            assert wide.shape == (*own.shape[:-1], SIZE + plain.model.dream_size)
            assert torch.equal(wide[..., :SIZE], own)
            assert not torch.equal(wide[..., SIZE : 2 * SIZE], own)


def test_direct_draws_too():
    model, x = mlp(), images()
    plain, both = (Problem.direct(model, x, M, K, Streams(3), dreams=dreams) for dreams in (False, True))
    assert torch.equal(both.noise.draw(0, range(2))[..., :SIZE], plain.noise.draw(0, range(2)))


def test_portions_are_those_of_the_whole_draw():
    for groups in (1, 2):
        _, both = problems(groups)
        whole = both.noise.draw(1, range(2, 3))[0]
        parts = torch.cat(list(both.noise.portions(1, 2, 2)), dim=2)
        assert torch.equal(parts, whole)


def test_dreams_of_points_and_draws_differ():
    _, both = problems()
    dreams = torch.stack([both.noise.draw(group, range(3))[..., SIZE:] for group in range(B)]).flatten(0, 1)
    rows = dreams.reshape(-1, dreams.shape[-1])
    assert len(torch.unique(rows, dim=0)) == len(rows)
