"""Images step by step: what the table has is what the model wrote, where it looked, and how far each step went."""

import numpy as np
import pytest
import torch

from snrkit.core.streams import Streams
from snrkit.errors import CapabilityError
from snrkit.evaluation.canvases import canvases
from tests.models.test_attentive import PIXELS, small
from tests.zoo import images, mlp


def test_the_table_is_what_was_written():
    model, x = small(read=2, write=3), images(pixels=PIXELS)
    table = canvases(model, x, [5, 0, 7], Streams(1))
    assert table.groupby("number")["t"].apply(list).to_dict() == {number: [0, 1, 2, 3] for number in (0, 5, 7)}
    noise = Streams(1).normal("canvases", (7,), (6,), dtype=torch.float64, device=torch.device("cpu"))
    with torch.no_grad():
        steps = model.encode(x[2:]).unroll(noise[None, None, None], drawn=True)
        states = model.states(steps.z[0, 0, 0])
    own = table[table.number == 7].set_index("t")
    np.testing.assert_array_equal(own.pixels[0], x[2])
    for t in (1, 2, 3):
        np.testing.assert_allclose(own.pixels[t], torch.sigmoid(states[t].canvas))
        assert own.write_left[t] == pytest.approx(float(states[t].window.left))
    np.testing.assert_allclose(own.kl[1:], steps.kl[0, 0, 0].view(3, 2).sum(-1))
    np.testing.assert_allclose(own.kl[1:].sum(), model.kl_to_prior(model.encode(x[2:]), steps.z).item())
    with torch.no_grad():
        window = model.read_window(states[1].decoder[0])  # the second step reads with what the first one left
    assert own.read_left[2] == pytest.approx(float((4 + 1) / 2 * (window[0] + 1)))
    assert (table.read.unique(), table.write.unique()) == (2, 3)
    again = canvases(model, x[2:], [7], Streams(1))
    np.testing.assert_allclose(again.pixels.iloc[3], own.pixels[3])


def test_samples_of_the_prior_have_no_input_and_no_divergence():
    table = canvases(small(read=0, write=0), None, [0, 1], Streams(1))
    assert set(table.kind) == {"canvas"}
    assert table[["kl", "read_left", "write_stride"]].isna().all(axis=None)
    with pytest.raises(CapabilityError, match="Mlp does not write in steps"):
        canvases(mlp(), images(), [0, 1, 2], Streams(0))
