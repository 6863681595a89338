"""A run on sentences from its data to what is asked of it: trained, gone on with, side by side, evaluated, decoded."""

import dataclasses
import math
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

import snrkit
from snrkit.cli.main import main
from snrkit.data import load
from snrkit.errors import DataError
from snrkit.evaluation.sentences import perplexity
from snrkit.runs.checkpoint import load_checkpoint
from snrkit.runs.folder import RunDir
from snrkit.runs.kinds.evaluation import EVALUATION
from snrkit.runs.kinds.points import POINTS
from snrkit.runs.kinds.reconstructions import RECONSTRUCTIONS
from snrkit.specs.run import RunSpec
from snrkit.training.ensemble import Ensemble
from snrkit.training.loop import run_epochs
from snrkit.training.opening import begin, resolve_spec
from snrkit.training.trainer import Trainer
from tests.support.text import write

CPU = torch.device("cpu")


def spec_of(path, **changes):
    given = {
        "data": {"name": "text", "path": str(path), "min_count": 1, "train_limit": 40},
        "model": {"name": "sentence", "options": {"embed": 8, "hidden": 12, "latent": 3, "keep": 0.6}},
        "estimator": {"name": "vae", "M": 1, "K": 1},
        "optimiser": {"lr": 0.01},
        "eval_points": 5,
        "epochs": 1,
    }
    return RunSpec.parse(given | changes, "test")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small run of one epoch on 40 sentences."""
    folder = tmp_path_factory.mktemp("sentences")
    return snrkit.train(spec_of(write(folder, 150)), folder / "run", device="cpu")


@pytest.mark.slow
def test_training_makes_held_out_sentences_more_probable(tmp_path):
    """An LSTM of 32 on 67 words: over 20 nats per sentence in 40 steps, of some 50 to begin with."""
    data = {"name": "text", "path": str(write(tmp_path, 1500)), "min_count": 1, "train_limit": 1000}
    model = {"name": "sentence", "options": {"embed": 16, "hidden": 32, "latent": 4}}

    def bound(epochs):
        spec = spec_of(data["path"], data=data, model=model, epochs=epochs, batch_size=25, optimiser={"lr": 0.02})
        run = snrkit.train(spec, tmp_path / f"run{epochs}", device="cpu")
        assert len(run.model.words) < 200
        scores = {score.metric: score.value for score in run.evaluate(128, 10).scores}
        return scores["elbo"], scores["perplexity"]

    (before, wide), (after, narrow) = bound(0), bound(1)
    assert after > before + 20
    assert narrow < wide / 4


def test_a_resumed_run_is_the_same_to_the_bit(run, tmp_path):
    spec = run.spec.model_copy(update={"epochs": 2})
    whole = snrkit.train(spec, tmp_path / "whole", device="cpu")
    snrkit.train(run.spec, tmp_path / "parts", device="cpu")
    parts = snrkit.train(spec, tmp_path / "parts", device="cpu", resume=True)
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not all(torch.equal(a, b) for a, b in zip(run.model.parameters(), whole.model.parameters(), strict=True))


@pytest.mark.slow
def test_runs_side_by_side_are_the_runs_that_they_would_be_alone(run, tmp_path):
    data = run.spec.data.model_dump()
    specs = [spec_of("", data=data, seed=seed, dtype="float64") for seed in (1, 2)]
    made = []
    for number, spec in enumerate(specs):
        dataset, folder = load(spec.data, None), RunDir(tmp_path / f"together{number}")
        made.append(Trainer(resolve_spec(spec, dataset), dataset, folder, CPU, None))
        begin(folder, made[-1].spec, CPU, 0)
    run_epochs(Ensemble(made, tmp_path / "marker"), lambda: False, lambda *_: None, lambda *_: None)
    for number, spec in enumerate(specs):
        alone = snrkit.train(spec, tmp_path / f"alone{number}", device="cpu")
        for one, other in zip(made[number].model.parameters(), alone.model.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_words_are_in_the_checkpoint(run):
    kept = load_checkpoint(run.file)
    assert tuple(kept.data_words) == run.dataset.words
    model = kept.restore_model(CPU)
    x, _ = run.points(3)
    assert model.texts(x) == run.model.texts(x)


def test_a_text_that_has_changed_is_not_taken_for_the_runs(run, tmp_path):
    path = tmp_path / "grammar.txt"
    path.write_text(Path(run.spec.data.path).read_text().replace("ship", "boat"))
    moved = snrkit.train(run.spec, tmp_path / "run", device="cpu").spec.data.model_copy(update={"path": str(path)})
    with pytest.raises(DataError, match="not those that the run began with"):
        snrkit.train(run.spec.model_copy(update={"data": moved}), tmp_path / "run", device="cpu", resume=True)


def test_other_words_are_no_test_set_for_it(run, monkeypatch):
    same = run.dataset
    monkeypatch.setattr("snrkit.opened.load", lambda *_: same)
    assert run.on("digits").dataset is same
    other = dataclasses.replace(same, words=(*same.words[:-1], "unheard"))
    monkeypatch.setattr("snrkit.opened.load", lambda *_: other)
    with pytest.raises(DataError, match="other words than the run was trained on"):
        run.on("digits")


def test_perplexity_is_of_words_and_ends_and_adds_up(run, tmp_path):
    """At the whole weight of the KL and with every word given, though the run was trained with words dropped."""
    found = run.evaluate(128, 12, out=tmp_path / "own.json")
    file = found.save(points=True)
    points, scores = POINTS.read(tmp_path / "own.points.parquet"), EVALUATION.read(file).set_index("metric")
    x, _ = run.points(12)
    assert points["words"].tolist() == [len(text.split()) + 1 for text in run.model.texts(x)]
    value = scores["value"]
    assert value["perplexity"] == pytest.approx(math.exp(-points["log_p"].sum() / points["words"].sum()))
    assert value["perplexity_elbo"] == pytest.approx(math.exp(-points["elbo"].sum() / points["words"].sum()))
    assert value["perplexity"] < value["perplexity_elbo"]
    assert value["reconstruction"] == pytest.approx(value["elbo"] + value["kl"])
    assert "grammar.txt" in scores["definition"]["perplexity"]
    model = run.model.eval()
    posterior = model.encode(x).normal
    kl = torch.distributions.kl_divergence(
        torch.distributions.Normal(posterior.loc, posterior.scale), torch.distributions.Normal(0.0, 1.0)
    ).sum(-1)
    torch.testing.assert_close(kl.double(), torch.tensor(points["kl"]), rtol=1e-4, atol=1e-6)
    # The reconstruction is E_q log p(x|z), by other samples, within their errors.
    z = torch.randn(12, 1, 2000, model.prior_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logs = model.log_likelihood(x[:, None, None], model.encode(x).sample(z))[:, 0].double()
    gap = logs.mean(1) - torch.tensor(points["reconstruction"])
    # Those of the evaluation are 128.
    assert (gap.abs() < 4.5 * logs.std(1) * math.sqrt(1 / 2000 + 1 / 128) + 4.5 * 0.1).all()


def test_the_error_of_a_perplexity_is_that_of_repetitions():
    """Of 2,000 samples of sentences the spread of perplexities, against what each says of its own."""
    generator = np.random.default_rng(0)
    values, errors = [], []
    for _ in range(2000):
        words = generator.integers(4, 15, 60).astype(float)
        logs = -2 * words + generator.normal(0, 3, 60)
        score = perplexity("perplexity", logs, words, "")
        values.append(score.value)
        errors.append(score.stderr)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.08)
    assert math.isinf(perplexity("perplexity", np.array([-1.0, -np.inf]), np.array([2.0, 3.0]), "").value)


def test_reconstructions_of_sentences_are_texts(run, tmp_path):
    found = run.reconstruct([3, 1], k=4, samples=2, out=tmp_path / "own.reconstructions.parquet")
    table, text = found.save()
    rows = RECONSTRUCTIONS.read(table)
    assert rows.groupby("kind").size().to_dict() == {"input": 2, "mean": 2, "q": 4, "q_iw": 4}
    x, _ = run.points(4)
    model = run.model.eval()
    assert rows[rows.kind == "input"]["text"].tolist() == model.texts(x[[3, 1]])
    assert rows[rows.kind == "mean"]["text"].tolist() == model.texts(model.decode(model.encode(x[[3, 1]]).normal.loc))
    for _, row in rows[rows.kind != "input"].iterrows():
        z = torch.tensor(row["z"], dtype=torch.float32)
        own = model.log_likelihood(x[row["point"]][None, None, None], z[None, None, None])
        assert row["log_likelihood"] == pytest.approx(float(own.detach()), abs=1e-4)
    assert text.read_text().splitlines()[0] == f"1 input: {model.texts(x[1:2])[0]}"
    assert set(found.means["log_likelihood"]) == {"q", "q_iw", "q_iw - q", "mean"}


def test_the_documented_command_is_one(tmp_path, capsys):
    page = (Path(__file__).parent.parent / "docs" / "howto" / "bits-and-sentences.md").read_text(encoding="utf-8")
    whole = page.replace("\\\n", " ")
    [line] = [line for line in whole.splitlines() if line.startswith("snrkit") and "--model sentence" in line]
    main([*shlex.split(line.replace("FILE.txt", str(write(tmp_path, 100))))[1:], "--print-config"])
    spec = RunSpec.from_toml(capsys.readouterr().out, "printed")
    assert spec.model.options["keep"] == 0.5
    assert spec.estimator.changes
