"""What a run offers, of a model at hand; and tables that are kept, read and drawn without a run."""

import importlib
import subprocess
import sys
import types

import numpy as np
import pandas as pd
import pytest
import torch

import snrkit
from snrkit.errors import CapabilityError, ResultsError, SpecError
from snrkit.runs.kinds.snr import SNR
from tests.zoo import toy


@pytest.fixture(scope="module")
def model_and_x():
    return toy()


@pytest.fixture(scope="module")
def table(model_and_x):
    return snrkit.measure(*model_and_x, ["iwae"], K=[1, 4], draws=40, blocks=["inference", "generative"])


def test_evaluate_gives_what_a_run_gives(tmp_path):
    settings = {"data": {"name": "digits", "train_limit": 40}, "epochs": 0, "model": {"options": {"hidden": [5]}}}
    run = snrkit.train(snrkit.RunSpec.parse(settings, "here"), tmp_path / "run")
    x, _ = run.points(6)
    found, wanted = snrkit.evaluate(run.model, x.numpy(), 130, seed=3), run.evaluate(130, 6, seed=3).table
    pd.testing.assert_frame_equal(found, wanted.drop(index="ssim", errors="ignore"))


class Own(torch.nn.Module):
    """A model with a proposal of a user's own, which says no more than has to be, or numbers of categories."""

    def __init__(self, kind):
        super().__init__()
        self.encoder, self.kind = torch.nn.Linear(3, 4), kind

    def encode(self, x):
        found = self.encoder(x)
        if self.kind == "category":
            return torch.distributions.Categorical(logits=found)
        normal = torch.distributions.Independent(torch.distributions.Normal(found[:, None, None], 0.5), 1)
        return types.SimpleNamespace(
            noise_shape=(4,), sample=lambda noise: normal.mean + 0.5 * noise, log_prob=normal.log_prob
        )

    def log_joint(self, x, z):
        return -(z.float().flatten(3) if z.dim() > 3 else z.float()[..., None]).square().sum(-1) - x.square().sum(-1)


def test_evaluate_has_active_units_of_what_has_a_mean_and_bounds_of_all():
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    found = snrkit.evaluate(Own("plain"), x, 128)
    assert found.value["active_units"] == 4  # by samples
    assert "1000 samples" in found.definition["active_units"]
    without = snrkit.evaluate(Own("category"), x, 128)
    assert "active_units" not in without.index
    assert without.value["log_p"] >= without.value["elbo"]


def test_evaluate_refuses_what_has_no_bound_point_by_point(model_and_x):
    model, x = model_and_x
    with pytest.raises(SpecError, match="samples"):
        snrkit.evaluate(model, x, 64)
    with pytest.raises(SpecError, match="points"):
        snrkit.evaluate(model, x[:1], 128)

    class Pair(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def encode(self, x):
            return self.inner.encode(x[0])

        def log_joint(self, x, z):
            return self.inner.log_joint(x[0], z)

    with pytest.raises(CapabilityError, match="single one"):
        snrkit.evaluate(Pair(), (x, x), 128)


def test_diagnose_gives_what_measure_gives_and_more(model_and_x, table, tmp_path):
    spec = snrkit.MeasureSpec(K=[1, 4], draws=40, blocks=["inference", "generative"], bias="bound")
    found = snrkit.diagnose(*model_and_x, spec, estimators=["iwae", "dreg"], run="mine", step=7)
    same = found.table[found.table.estimator == "iwae"]
    assert found.table.metric.str.startswith("bias").any()
    both = same.merge(table, on=["K", "block", "metric", "scope"], suffixes=("", "_other"))
    assert len(both) == len(table)
    np.testing.assert_array_equal(both["value"], both["value_other"])
    assert set(found.table["run"]) == {"mine"}
    assert set(found.table["step"]) == {7}
    assert found.save(tmp_path / "m.parquet").is_file()
    with pytest.raises(SpecError, match="named by the specification too"):
        snrkit.diagnose(*model_and_x, snrkit.MeasureSpec(estimators=["vae"]), estimators="iwae")


def test_advise_without_a_run(model_and_x, tmp_path):
    advice = snrkit.advise(*model_and_x, 4, draws=40, estimators=["iwae"])
    assert list(zip(advice.table["M"], advice.table["K"], strict=True)) == [(4, 1), (2, 2), (1, 4)]
    assert advice.save(tmp_path / "advice.json").is_file()
    with pytest.raises(SpecError, match="either `budget` or `seconds`"):
        snrkit.advise(*model_and_x)


def test_a_table_is_kept_and_read_as_it_was(table, tmp_path):
    file = snrkit.save_table(table, tmp_path / "deep" / "m.parquet")
    pd.testing.assert_frame_equal(snrkit.load_table(file), table, check_dtype=False)
    snrkit.save_table(table, file)
    assert len(snrkit.load_table(file)) == len(table)
    snrkit.save_table(table, file, run="other", step=3)
    again = snrkit.load_table(file)
    assert list(again["run"].value_counts()) == [len(table)] * 2
    for wrong, word in (("m.csv", "does not end in .parquet"), ("m.parquet", "is no label of rows")):
        with pytest.raises(SpecError, match=word):
            snrkit.save_table(table, tmp_path / wrong, **({} if wrong == "m.csv" else {"block": "all"}))


def test_a_table_of_pandas_is_read_and_what_is_missing_is_said(table, tmp_path):
    few = table[["estimator", "K", "block", "metric", "value", "stderr"]].assign(mood="good")
    for file, write in (("m.parquet", few.to_parquet), ("m.csv", lambda path: few.to_csv(path, index=False))):
        write(tmp_path / file)
        found = snrkit.load_table(tmp_path / file)
        np.testing.assert_allclose(found["value"], table["value"], rtol=1e-12)
        assert list(found.columns) == list(SNR.columns)
        said = " ".join(found.attrs["remarks"])
        assert "floor (no floor, so that signal and noise cannot be told apart)" in said
        assert "mood are no columns" in said
        assert "stderr" not in said


def test_a_table_that_was_written_as_csv_is_read_as_it_was(table, tmp_path):
    table.to_csv(tmp_path / "m.csv", index=False)
    found = snrkit.load_table(tmp_path / "m.csv")
    assert found.attrs["remarks"] == []
    pd.testing.assert_frame_equal(found, pd.DataFrame(table), check_dtype=False, rtol=1e-14)
    made = snrkit.report(tmp_path / "m.csv", tmp_path / "out", figures=["snr_vs_k"], page=False)
    assert "snr_vs_k.pdf" in {path.name for path in made.files}


def test_what_is_no_table_is_refused(table, tmp_path):
    table[["metric", "K"]].to_parquet(tmp_path / "m.parquet")
    with pytest.raises(ResultsError, match="has no column value"):
        snrkit.load_table(tmp_path / "m.parquet")
    with pytest.raises(ResultsError, match="column 'value' holds something else than numbers"):
        snrkit.save_table(table.assign(value="high"), tmp_path / "n.parquet")
    with pytest.raises(ResultsError, match="does not exist"):
        snrkit.load_table(tmp_path / "nowhere.parquet")


def test_a_report_of_tables_at_hand(table, tmp_path):
    few = table[["estimator", "K", "block", "metric", "value"]]
    made = snrkit.report({"one": table, "two": few}, tmp_path / "out", figures=["snr_vs_k"])
    assert {"snr_vs_k.pdf", "report.html"} <= {path.name for path in made.files}
    assert any("two: lacks" in note and "no error bars" in note for note in made.notes)
    assert set(snrkit.load_table(tmp_path / "out" / "tables" / "one.parquet")["run"]) == {"one"}
    with pytest.raises(SpecError, match="would be one file"):
        snrkit.report({"a b": table, "a-b": few}, tmp_path / "out")
    for wrong in ([], [3], [None], None, 3):
        with pytest.raises(SpecError, match="tables"):
            snrkit.report(wrong, tmp_path / "out")


def test_the_program_reports_a_table_of_pandas(table, tmp_path, capsys):
    from snrkit.cli.main import main

    table[["estimator", "K", "block", "metric", "value"]].to_parquet(tmp_path / "m.parquet")
    main(["report", str(tmp_path / "m.parquet"), "--out", str(tmp_path / "out"), "--figure", "snr_vs_k"])
    said = capsys.readouterr()
    assert "snr_vs_k.pdf" in said.out
    assert "lacks" in said.err


def test_report_can_be_called_whichever_was_imported_first():
    importlib.import_module("snrkit.report.style")
    assert callable(snrkit.report)
    code = "import snrkit; f = snrkit.report; import snrkit.report.make as m; assert callable(f) and callable(snrkit.report)"
    subprocess.run([sys.executable, "-c", code], check=True)
