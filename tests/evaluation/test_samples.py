"""Samples of the prior and lines between two points, against densities, transformations and decoders written out."""

import numpy as np
import pytest
import torch
from torch import nn

from snrkit.core.streams import Streams
from snrkit.errors import CapabilityError, NonFiniteError, ResourceError, SpecError
from snrkit.evaluation.decoding import decoding
from snrkit.evaluation.samples import at_zero_noise, interpolate, sample
from snrkit.models.draw import Draw, Drawn
from snrkit.models.gaussian import Gaussian
from snrkit.models.hierarchical import Hierarchical
from snrkit.models.mlp import Mlp
from snrkit.models.standard import StandardNormalPrior

P, D = 6, 3


def mlp():
    torch.manual_seed(0)
    return Mlp(P, (5,), D).double()


def layered():
    torch.manual_seed(1)
    return Hierarchical(P, (3, 2), ((5,), (4,))).double()


class Words(StandardNormalPrior):
    """A model that says how often z is positive, and what was drawn of how many words."""

    latent, length = D, 4

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(D, dtype=torch.float64))

    def encode(self, x):
        from snrkit.models.densities import DiagonalNormal

        return DiagonalNormal(x[:, :D] * self.weight, torch.ones_like(x[:, :D]))

    def log_joint(self, x, z):
        return self.log_prior(z)

    def decode(self, z, noise=None):
        number = (z > 0).sum(dim=-1) if noise is None else 10 + (noise > 0).sum(dim=-1)
        return number[:, None].expand(-1, self.length)

    def texts(self, tokens):
        return [f"{int(row[0])} up" for row in tokens]


class Discrete(Mlp):
    def encode(self, x):
        class Bits(Drawn):
            reparameterised = False
            noise_shape = (D,)

            def draw(self, noise, path):
                z = (noise > 0).to(noise.dtype)
                return Draw(z, z.sum(dim=-1), None)

            def log_prob(self, z):
                return z.sum(dim=-1)

        return Bits()


@torch.no_grad()
def test_samples_are_the_priors_and_their_means_the_decoders():
    model = mlp()
    table = sample(model, 300, Streams(4))
    assert table["sample"].tolist() == list(range(300))
    assert set(table["kind"]) == {"mean"}
    z = np.stack(table["z"])
    # Moments of a standard normal, in standard errors: of means 1/sqrt(n), of squares sqrt(2/n).
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(300)
    assert np.abs((z**2).mean(axis=0) - 1).max() < 4 * np.sqrt(2 / 300)
    expected = model.pixel_means(torch.from_numpy(z)).numpy()
    np.testing.assert_allclose(np.stack(table["pixels"]), expected, rtol=1e-12)


@torch.no_grad()
def test_layers_are_drawn_from_the_top():
    model = layered()
    z = torch.from_numpy(np.stack(sample(model, 500, Streams(0))["z"]))
    loc, scale = model.prior[0](z[:, 3:])
    standard = ((z[:, :3] - loc) / scale).numpy()
    assert np.abs(standard.mean(axis=0)).max() < 4 / np.sqrt(500)
    assert np.abs((standard**2).mean(axis=0) - 1).max() < 4 * np.sqrt(2 / 500)


def test_pixels_are_drawn_with_their_means():
    table = sample(mlp(), 1500, Streams(0), drawn=True)
    means, drawn = (np.stack(table.loc[table["kind"] == kind, "pixels"]) for kind in ("mean", "drawn"))
    assert set(np.unique(drawn)) == {0.0, 1.0}
    # Beyond their means they are independent of one another, and of the z that they share.
    score = (drawn - means) / np.sqrt(means * (1 - means))
    assert np.abs(score.mean(axis=0)).max() < 4 / np.sqrt(1500)
    products = (score.T @ score / 1500)[np.triu_indices(P, 1)]
    assert np.abs(products).max() < 4 / np.sqrt(1500)


@pytest.mark.parametrize("drawn", [False, True])
def test_a_sample_does_not_depend_on_how_many_there_are(drawn):
    few, many = (sample(mlp(), number, Streams(2), drawn=drawn) for number in (3, 260))
    for kind in few["kind"].unique():
        ours, theirs = (table[table["kind"] == kind].iloc[:3] for table in (few, many))
        np.testing.assert_allclose(np.stack(ours["pixels"]), np.stack(theirs["pixels"]), rtol=1e-12)
    other = sample(mlp(), 3, Streams(3))
    assert not np.allclose(np.stack(other["z"]), np.stack(few["z"])[:3])


def test_progress_is_told_to_the_end():
    told = []
    sample(mlp(), 300, Streams(0), progress=lambda *step: told.append(step[:2]))
    assert told == [(256, 300), (300, 300)]


@torch.no_grad()
def test_a_line_is_straight_and_joins_what_it_should():
    model, x = layered(), torch.rand(4, P, dtype=torch.float64).round()
    table = interpolate(model, x, 2, 5, Streams(0), points=[7, 3, 0, 1])
    ends = at_zero_noise(model, x)
    between = table[table["kind"] == "mean"]
    assert between[["pair", "place"]].to_numpy().tolist() == [[pair, place] for pair in range(2) for place in range(5)]
    for pair, line in between.groupby("pair"):
        one, other = ends[2 * pair], ends[2 * pair + 1]
        for t, z, pixels in zip(line["t"], line["z"], line["pixels"], strict=True):
            expected = (1 - t) * one + t * other
            np.testing.assert_allclose(z, expected.numpy(), atol=1e-15)
            np.testing.assert_allclose(pixels, model.pixel_means(expected).numpy(), rtol=1e-12)
    assert between.loc[between["pair"] == 0, "t"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    inputs = table[table["kind"] == "input"]
    assert inputs["point"].tolist() == [7, 3, 0, 1]
    assert inputs["place"].tolist() == [0, 4, 0, 4]
    np.testing.assert_array_equal(np.stack(inputs["pixels"]), x.numpy())


@torch.no_grad()
def test_z_at_noise_of_zero_is_a_mean():
    model, x = mlp(), torch.rand(5, P, dtype=torch.float64)
    assert torch.equal(at_zero_noise(model, x), model.encode(x).loc)
    deep = layered()
    first, second = deep.encoder
    loc, _ = first(x)
    assert torch.allclose(at_zero_noise(deep, x), torch.cat([loc, second(loc)[0]], dim=-1), rtol=1e-12)


def test_lines_between_samples_join_those_of_sample():
    model = mlp()
    table = interpolate(model, torch.zeros(1, P, dtype=torch.float64), 2, 3, Streams(6))
    assert set(table["kind"]) == {"mean"}
    z = np.stack(table["z"]).reshape(2, 3, D)
    ends = np.stack(sample(model, 4, Streams(6))["z"]).reshape(2, 2, D)
    np.testing.assert_allclose(z[:, [0, 2]], ends, rtol=1e-12)


def test_sentences_are_read_greedily_and_drawn():
    table = sample(Words(), 40, Streams(0))
    z = np.stack(table.loc[table["kind"] == "greedy", "z"])
    assert table.loc[table["kind"] == "greedy", "text"].tolist() == [f"{int((row > 0).sum())} up" for row in z]
    drawn = [int(text.split()[0]) - 10 for text in table.loc[table["kind"] == "sampled", "text"]]
    # Binomial of 4 fair noises.
    assert abs(np.mean(drawn) - 2) < 4 * np.sqrt(1 / 40)
    assert set(sample(Words(), 2, Streams(0), drawn=False)["kind"]) == {"greedy"}
    x = torch.tensor([[-1.0, -1, -1], [1, 1, 1]], dtype=torch.float64)
    line = interpolate(Words(), x, 1, 4, Streams(0), points=[5, 6])
    assert line["text"].tolist() == ["0 up", "0 up", "3 up", "3 up", "-1 up", "1 up"]


def test_what_is_discrete_has_nothing_between():
    torch.manual_seed(0)
    model = Discrete(P, (5,), D)
    for points in ([0, 1], []):
        with pytest.raises(CapabilityError, match=r"z of Discrete is discrete, .*snrkit sample"):
            interpolate(model, torch.zeros(2, P), 1, 3, Streams(0), points=points)
    assert len(sample(model, 2, Streams(0))) == 2


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: sample(mlp(), 0, Streams(0)), SpecError, "number: must be at least 1"),
        (lambda: interpolate(mlp(), torch.zeros(1, P), 0, 3, Streams(0)), SpecError, "pairs: "),
        (lambda: interpolate(mlp(), torch.zeros(1, P), 1, 1, Streams(0)), SpecError, "steps: must be at least 2"),
        (lambda: sample(mlp(), 10**15, Streams(0)), ResourceError, "number: 1,000,000,000,000,000 points"),
        (lambda: decoding(Gaussian.optimum(torch.zeros(3))), CapabilityError, "Gaussian has no pixel_means"),
    ],
)
def test_what_cannot_be_asked_for(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


def test_a_model_that_does_not_say_its_prior_is_told_what_to_give():
    class Silent(Mlp):
        @property
        def prior_size(self):
            return super(StandardNormalPrior, self).prior_size

    with pytest.raises(CapabilityError, match=r"prior_distribution"):
        sample(Silent(P, (5,), D), 2, Streams(0))


def test_numbers_that_are_none_are_refused():
    model = mlp()
    with torch.no_grad():
        model.decoder[-1].bias[2] = float("nan")
    with pytest.raises(NonFiniteError, match="NaN"):
        sample(model, 2, Streams(0))


def test_the_model_is_left_in_its_mode():
    model = mlp().train()
    sample(model, 2, Streams(0))
    assert model.training
