"""A run's spec: what is refused and in which words, and TOML round trips."""

import pydantic
import pytest

from snrkit.errors import SpecError
from snrkit.specs.run import DataSpec, ModelSpec, RunSpec

FULL = RunSpec.parse(
    {
        "data": {"name": "npz", "path": 'a "quoted" file.npz', "binarise": "fixed", "seed": 7, "train_limit": 30},
        "model": {"name": "mlp", "options": {"hidden": [8, 6], "latent": 3}},
        "estimator": {"name": "ciwae", "M": 2, "K": 5, "options": {"beta": 0.25}},
        "optimiser": {"schedule": "burda", "lr": 0.003, "betas": [0.8, 0.99], "eps": 1e-4},
        "epochs": 4, "batch_size": 9, "seed": 2**63 - 1, "dtype": "float64", "checkpoint_every": 3, "eval_points": 0,
    },
    "test",
)  # fmt: skip


@pytest.mark.parametrize("spec", [RunSpec(), FULL])
def test_toml_reads_back_equal(spec):
    again = RunSpec.from_toml(spec.to_toml(), "text")
    assert again == spec
    assert again.digest() == spec.digest()


def test_digest_tells_specs_apart():
    specs = [RunSpec(), RunSpec(seed=1), RunSpec(epochs=1), RunSpec(data=DataSpec(seed=1)), FULL]
    assert len({spec.digest() for spec in specs}) == len(specs)


def test_specs_are_immutable():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        RunSpec().epochs = 3


@pytest.mark.parametrize(
    ("data", "field", "problem"),
    [
        ({"epoch": 3}, "epoch", "no such setting"),
        ({"estimator": {"k": 3}}, "estimator.k", "no such setting"),
        ({"epochs": "many"}, "epochs", "valid integer"),
        ({"epochs": -1}, "epochs", "greater than or equal to 0"),
        ({"epochs": 1.5}, "epochs", "valid integer"),
        ({"estimator": 3}, "estimator", "got 3"),
        ({"estimator": {"K": 0}}, "estimator.K", "greater than or equal to 1"),
        ({"estimator": {"M": -2}}, "estimator.M", "greater than or equal to 1"),
        ({"estimator": {"options": {"beta": "x"}}}, "estimator.options.beta", "valid number"),
        ({"optimiser": {"lr": 0}}, "optimiser.lr", "greater than 0"),
        ({"optimiser": {"lr": float("nan")}}, "optimiser.lr", "finite"),
        ({"optimiser": {"lr": float("inf")}}, "optimiser.lr", "finite"),
        ({"optimiser": {"betas": [0.9]}}, "optimiser.betas.1", "required"),
        ({"optimiser": {"betas": [0.9, 1]}}, "optimiser.betas.1", "less than 1"),
        ({"optimiser": {"schedule": "cosine"}}, "optimiser.schedule", "'constant' or 'burda'"),
        ({"dtype": "float16"}, "dtype", "'float32' or 'float64'"),
        ({"data": {"binarise": "maybe"}}, "data.binarise", "got 'maybe'"),
        ({"seed": 2**63}, "seed", "less than"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"batch_size": 0}, "batch_size", "greater than or equal to 1"),
    ],
)
def test_refusals_name_the_setting_and_the_source(data, field, problem):
    with pytest.raises(SpecError) as caught:
        RunSpec.parse(data, "my.toml")
    assert caught.value.argument == field
    assert problem in caught.value.problem
    assert "my.toml" in caught.value.remedy
    assert "\n" not in str(caught.value)


def test_option_values_keep_their_types():
    spec = ModelSpec(options={"flag": True, "n": 1, "x": 1.0, "s": "1", "l": [1, 2]})
    assert [type(value) for value in spec.options.values()] == [bool, int, float, str, list]
