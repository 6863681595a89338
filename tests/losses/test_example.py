"""The example runs, and says what a plain loop says."""

import re
import runpy
from pathlib import Path

import torch

from tests.losses import zoo
from tests.strangers.models import pooled

EXAMPLE = Path(__file__).parents[2] / "examples" / "any_loss.py"


def test_the_numbers_of_the_example_are_those_of_plain_loops(capsys):
    torch.manual_seed(0)
    place = torch.get_rng_state()
    example = runpy.run_path(str(EXAMPLE))
    example["main"]()
    said = dict(re.findall(r"^(.*): ([\d.]+ ± [\d.]+)$", capsys.readouterr().out, re.MULTILINE))
    torch.set_rng_state(place)
    images, states = torch.randn(64, 8), torch.randn(64, 4)
    wanted = {
        "diffusion, pooled SNR": ("diffusion", example["made"](9, 16, 8), images),
        "policy gradient, mean of 1": ("policy_gradient", example["made"](4, 16, 2), states),
    }
    assert set(wanted) < set(said)
    for name, (loss, model, batch) in wanted.items():
        value, error = (float(number) for number in said[name].split(" ± "))
        square, own = pooled(zoo.loop(example[loss], model.parameters(), 800, model, batch))
        assert abs(value - square**0.5) < 4 * (error**2 + (own / (2 * square**0.5)) ** 2) ** 0.5
    assert "policy gradient after 150 steps" in said
