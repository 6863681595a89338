"""Adam on the device is torch's, whatever the layout of gradients; a run that came to a halt stands still."""

import pytest
import torch

from snrkit.specs.run import OptimiserSpec
from snrkit.training.adam import DeviceAdam, Moved

SPEC = OptimiserSpec(betas=(0.8, 0.99), eps=1e-3)
SHAPES = [(3, 5), (1, 4), (2,), (4, 1)]


def moved():
    torch.manual_seed(0)
    values = [torch.randn(shape) for shape in SHAPES]
    return Moved(values, *([torch.zeros_like(value) for value in values] for _ in range(2)))


def gradients(step):
    """Transposed, expanded, and with the strides that an axis of one element may have."""
    torch.manual_seed(10 + step)
    return [torch.randn(5, 3).T, torch.randn(4, 1).T, torch.randn(1).expand(2), torch.randn(1, 4).T]


@pytest.mark.parametrize("rate", [1e-3, 0.3])
def test_it_is_adam_of_torch_to_the_bit(rate):
    ours, theirs = moved(), [torch.nn.Parameter(value) for value in moved().values]
    adam = DeviceAdam(SPEC, [ours], 0)
    adam.rates = [rate]
    reference = torch.optim.Adam(theirs, lr=rate, betas=SPEC.betas, eps=SPEC.eps, maximize=True, fused=True)
    for step in range(4):
        adam.step([gradients(step)], torch.zeros(1))
        for parameter, gradient in zip(theirs, gradients(step), strict=True):
            parameter.grad = gradient.contiguous().clone()
        reference.step()
    for value, parameter in zip(ours.values, theirs, strict=True):
        assert torch.equal(value, parameter.data)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_a_run_stands_still_from_the_step_whose_bound_is_not_finite(wrong):
    one, other, alone = moved(), moved(), moved()
    adam, reference = DeviceAdam(SPEC, [one, other], 0), DeviceAdam(SPEC, [alone], 0)
    adam.rates, reference.rates = [0.1, 0.1], [0.1]
    for step, bound in enumerate((0.0, wrong, 0.0)):
        kept = [tensor.clone() for tensor in (*one.values, *one.first, *one.second)]
        adam.step([gradients(step), gradients(step)], torch.tensor([bound, 0.0]))
        reference.step([gradients(step)], torch.zeros(1))
        same = [torch.equal(a, b) for a, b in zip(kept, (*one.values, *one.first, *one.second), strict=True)]
        assert all(same) == (step > 0)
    assert all(torch.equal(a, b) for a, b in zip(other.values, alone.values, strict=True))


def test_the_count_of_steps_goes_on_from_those_made_before():
    whole, parts = moved(), moved()
    first, second = DeviceAdam(SPEC, [whole], 0), DeviceAdam(SPEC, [parts], 0)
    first.rates = second.rates = [0.1]
    for step in range(4):
        if step == 2:
            second = DeviceAdam(SPEC, [parts], 2)
            second.rates = [0.1]
        first.step([gradients(step)], torch.zeros(1))
        second.step([gradients(step)], torch.zeros(1))
    assert all(torch.equal(a, b) for a, b in zip(whole.values, parts.values, strict=True))
