"""Comparisons with a baseline: what is paired with what, what is said of it, and what is refused."""

import csv
import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest

import snrkit
from snrkit.errors import SpecError
from snrkit.report.against import compare
from snrkit.runs.kinds.comparisons import COMPARISONS
from snrkit.runs.kinds.points import POINTS
from snrkit.specs.run import EstimatorSpec, RunSpec
from tests.support.results import evaluation, make_run

pytestmark = pytest.mark.usefixtures("svg_alone")

DATA, N = "digits:test[0:300] seed 0", 300
LUCK = 60 * np.random.default_rng(0).standard_normal(N)


def trained(folder, estimator, seed, lift, *, points=True, noise=0.5, options=None):
    """A run of a seed whose log p̂ lies ``lift`` above that of others, on points whose luck is a hundred times as much."""
    name = f"digits-{estimator}{''.join(map(str, (options or {}).values()))}-seed{seed}-0123456789"
    files = make_run(folder, name, estimator if estimator in ("vae", "iwae", "ciwae", "piwae") else "vae", 2)
    spec = RunSpec(estimator=EstimatorSpec(name=estimator, M=1, K=64, options=options or {}), seed=seed)
    files.config.write_text(spec.to_toml())
    values = -200 + LUCK + lift + noise * np.random.default_rng([seed, len(estimator)]).standard_normal(N)
    rows = [{"metric": "log_p", "value": values.mean(), "stderr": values.std(ddof=1) / N**0.5, "definition": "bound, nats"},
            {"metric": "active_units", "value": 14.0, "stderr": 0.5, "definition": "latent dimensions of 16"}]  # fmt: skip
    files.evaluation.write_text(json.dumps(evaluation(name) | {"rows": rows}))
    if points:
        table = {"point": range(N), "log_p": values, "ess_64": 9.0, "ess": 9.0, "step": 600, "data": DATA, "run": name}
        POINTS.write(files.path / "evaluation.points.parquet", pd.DataFrame(table))
    return files


@pytest.fixture(scope="module")
def nine(tmp_path_factory):
    """Three seeds of three estimators: ciwae clearly above iwae, vae as good as equal to it."""
    folder = tmp_path_factory.mktemp("nine")
    for seed, luck in enumerate((0.0, 0.1, -0.1)):
        trained(folder, "iwae", seed, 0)
        trained(folder, "vae", seed, luck)
        trained(folder, "ciwae", seed, 2 + luck, options={"beta": 0.5})
    return folder


@pytest.fixture
def seeds(nine, tmp_path):
    """The same, for a test alone."""
    return shutil.copytree(nine, tmp_path / "runs")


def row(table, what, metric="log_p"):
    return table[(table["what"] == what) & (table["metric"] == metric)].iloc[0]


def test_points_that_are_shared_cancel_and_seeds_are_paired(seeds):
    table = compare(seeds, "iwae")
    assert set(table["baseline"]) == {"IWAE"}
    better, same = row(table, "CIWAE (β = 0.5)"), row(table, "VAE")
    assert (better["verdict"], same["verdict"]) == ("higher", "cannot tell")
    # Each value by itself is known to 3.5 nats only.
    assert better["stderr"] < 0.15
    assert (better["runs"], better["points"], better["together"]) == (3, N, 2)
    assert abs(same["difference"]) < same["tellable"] < 1.5
    assert row(table, "VAE", "active_units")["points"] == 0


def test_without_points_of_each_the_luck_stays(tmp_path):
    for name, lift in (("iwae", 0), ("vae", 2)):
        trained(tmp_path, name, 0, lift, points=name == "vae")
    found = row(compare(tmp_path, "iwae"), "VAE")
    assert (found["verdict"], found["points"]) == ("cannot tell", 0)
    assert found["stderr"] > 3


def test_of_single_runs_the_verdict_is_about_them_whatever_their_seeds(tmp_path):
    trained(tmp_path, "iwae", 4, 0)
    trained(tmp_path, "vae", 7, 1)
    found = row(compare(tmp_path, "iwae"), "VAE")
    assert (found["verdict"], found["runs"]) == ("higher", 1)


def test_runs_without_a_seed_in_common_are_not_compared(tmp_path):
    for name, of in (("iwae", (0, 1)), ("vae", (2, 3))):
        for seed in of:
            trained(tmp_path, name, seed, 0)
    table = compare(tmp_path, "iwae")
    assert table.empty
    assert table.attrs["notes"] == ["VAE and IWAE: no seeds in common, so not compared; train both with the same"]


def test_a_seed_of_one_side_alone_is_left_out_and_told(seeds):
    trained(seeds, "vae", 9, 5)
    table = compare(seeds, "iwae")
    assert row(table, "VAE")["runs"] == 3
    assert "VAE and IWAE: without seeds that only one has, 9" in table.attrs["notes"]


def test_other_numbers_of_samples_are_not_compared(seeds):
    for path in seeds.glob("digits-vae*/evaluation.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"samples": 64}))
    table = compare(seeds, "iwae")
    assert set(table["what"]) == {"CIWAE (β = 0.5)"}
    assert any("evaluated with 64, 5000 samples" in note for note in table.attrs["notes"])


def test_a_point_that_is_lost_is_not_silently_left_out(seeds):
    path = next(seeds.glob("digits-vae*seed0*")) / "evaluation.points.parquet"
    POINTS.write(path, pd.read_parquet(path).iloc[:-1])
    assert row(compare(seeds, "iwae"), "VAE")["points"] == 0


@pytest.mark.parametrize("baseline", ["IWAE", "iwae", "ciwae beta=0.5", "CIWAE (β = 0.5)", "digits-vae*"])
def test_a_baseline_may_be_called_as_its_user_does(tmp_path, baseline):
    for name, options in (("iwae", None), ("vae", None), ("ciwae", {"beta": 0.5})):
        trained(tmp_path, name, 0, 0, options=options)
    assert len(compare(tmp_path, baseline)) == 4


def test_a_baseline_that_is_none_or_several_is_refused(seeds):
    with pytest.raises(SpecError, match="baseline: nothing that can be compared is called 'iwea'; did you mean 'IWAE'"):
        compare(seeds, "iwea")
    trained(seeds, "ciwae", 0, 0, options={"beta": 0.1})
    with pytest.raises(SpecError, match=r"baseline: 'ciwae' is several: 'CIWAE \(β = 0.1\)', 'CIWAE \(β = 0.5\)'"):
        compare(seeds, "ciwae")


def comparisons(folder, run, seed, vae, dreg):
    rows = [
        {"run": run, "step": 600, "data": "digits", "seed": 0, "method": "units", "M": M, "K": 8, "block": block,
         "first": first, "second": second, "log_ratio": value, "stderr": error, "ci_low": value - 2.093 * error,
         "ci_high": value + 2.093 * error, "verdict": "cannot tell", "mode": "evaluation"}
        for M in (1, 4)
        for block, scale in (("inference", 1.0), ("generative", 0.0))
        for first, second, value, error in (
            ("vae", "iwae", vae * scale, 0.05 * scale), ("iwae", "dreg", -dreg * scale, 0.05 * scale),
            ("iwae", "stl", -dreg * scale, 0.05 * scale),
        )
    ]  # fmt: skip
    path = folder / run / "snr.comparisons.csv"
    COMPARISONS.write(path, COMPARISONS.complete(pd.DataFrame(rows)))


def test_estimators_on_the_same_noise_and_the_same_gradient_is_one_row(tmp_path, run):
    make_run(tmp_path / "runs", "one", "iwae", 2)
    comparisons(tmp_path / "runs", "one", 0, 0.02, 0.7)
    code, _, _ = run(
        tmp_path / "runs", "--baseline", "iwae", "--figure", "training", "--out", tmp_path / "out", "--quiet"
    )
    assert code == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "paired_estimators.csv").read_text())))
    assert [(r["estimator"], r["network"], r["M"], r["verdict"]) for r in rows] == [
        ("VAE", "inference", "1", "cannot tell"), ("DReG = STL", "inference", "1", "higher"),
        ("VAE = DReG = STL", "generative", "1", "equal"),
    ]  # fmt: skip
    assert rows[1]["difference"] == "0.70"
    # Student's t of 19 degrees, of two comparisons: 2.43 standard errors.
    assert float(rows[1]["ci_low"]) == pytest.approx(0.7 - 2.43 * 0.05, abs=0.006)


def test_over_seeds_the_spread_between_them_is_the_error(tmp_path):
    for seed, dreg in enumerate((0.2, 0.7, 1.2)):
        name = f"run-{seed}"
        files = make_run(tmp_path, name, "iwae", 2)
        files.config.write_text(RunSpec(estimator=EstimatorSpec(name="iwae", M=1, K=64), seed=seed).to_toml())
        comparisons(tmp_path, name, seed, 0.0, dreg)
    table = compare(tmp_path, "iwae")
    found = table[(table["block"] == "inference") & (table["what"] == "DReG = STL") & (table["M"] == 1)].iloc[0]
    assert (found["difference"], found["runs"]) == (pytest.approx(0.7), 3)
    assert found["stderr"] >= 0.5 / 3**0.5 - 1e-9


@pytest.mark.slow
def test_the_report_writes_the_tables_and_reads_digits_by_what_is_compared(seeds, tmp_path, run):
    out = tmp_path / "out"
    plain, against = (out / name / "evaluation.md" for name in ("plain", "against"))
    assert run(seeds, "--out", plain.parent, "--figure", "training", "--quiet")[0] == 0
    assert not (plain.parent / "paired_runs.md").exists()
    code, _, err = run(seeds, "--out", against.parent, "--figure", "training", "--baseline", "iwae", "--html")
    assert code == 0, err
    assert "paired_estimators: no second estimator measured" in err
    texts = {ending: (against.parent / f"paired_runs.{ending}").read_text() for ending in ("md", "tex", "csv")}
    assert "| CIWAE (β = 0.5) | log p̂(x) | 2." in texts["md"]
    assert "Bonferroni" in texts["md"]
    assert "not paired" in texts["md"]
    assert r"\toprule" in texts["tex"]
    assert "Runs against IWAE" in (against.parent / "report.html").read_text()


def test_digits_of_a_value_are_those_of_the_difference_that_is_read(tmp_path, run):
    for name, lift in (("iwae", 0), ("vae", 1)):
        trained(tmp_path / "runs", name, 0, lift)
    shown = []
    for words in ([], ["--baseline", "iwae"]):
        assert run(tmp_path / "runs", "--out", tmp_path / "out", "--figure", "training", "--quiet", *words)[0] == 0
        first = next(csv.DictReader(io.StringIO((tmp_path / "out" / "evaluation.csv").read_text())))
        shown.append((first["log_p"], first["log_p_error"]))
    # By itself ± 3 nats; the difference, ± 0.04.
    assert [[len(part.partition(".")[2]) for part in pair] for pair in shown] == [[0, 0], [2, 2]]


def test_in_python(tmp_path):
    seeds = tmp_path / "runs"
    for name, options in (("iwae", None), ("ciwae", {"beta": 0.5})):
        trained(seeds, name, 0, 0, options=options)
    made = snrkit.report(seeds, tmp_path / "out", baseline="iwae", metrics=["log_p"], figures=["training"], page=False)
    assert "paired_runs.csv" in {path.name for path in made.files}
    assert set(snrkit.compare(seeds, "iwae", metrics=["log_p"])["metric"]) == {"log_p"}
    named = snrkit.compare([seeds], "ours", labels={"digits-ciwae*": "ours"})
    assert set(named["baseline"]) == {"ours"}
    shutil.rmtree(seeds)
    make_run(seeds, "alone", "iwae", 2)
    with pytest.raises(SpecError, match="baseline: nothing that can be compared is called 'vae'; there are IWAE"):
        snrkit.compare(seeds, "vae")


def noise_rows(folder, run, ratios, *, name="snr", seed=0, step=600):
    """A table of comparisons of a run: the log ratio and error of each estimator over iwae."""
    rows = [
        {"run": run, "step": step, "data": "digits", "seed": seed, "method": "units", "M": 1, "K": 8, "block": "inference",
         "first": first, "second": "iwae", "log_ratio": value, "stderr": error, "ci_low": value - 2.093 * error,
         "ci_high": value + 2.093 * error, "verdict": "cannot tell", "mode": "evaluation"}
        for first, (value, error) in ratios.items()
    ]  # fmt: skip
    COMPARISONS.write(folder / run / f"{name}.comparisons.csv", COMPARISONS.complete(pd.DataFrame(rows)))


def test_estimators_lost_in_the_noise_are_not_the_same_gradient(tmp_path):
    make_run(tmp_path, "one", "iwae", 2)
    noise_rows(tmp_path, "one", {"dreg": (np.nan, np.nan), "vimco": (np.nan, np.nan), "vae": (0.7, 0.05)})
    table = compare(tmp_path, "iwae")
    assert sorted(table["what"]) == ["DReG", "VAE", "VIMCO"]
    assert dict(zip(table["what"], table["verdict"], strict=True))["VIMCO"] == "cannot tell"


def test_an_estimator_in_the_noise_takes_no_spread_over_seeds_from_another(tmp_path):
    for seed, dreg in enumerate((0.2, 0.7, 1.2)):
        files = make_run(tmp_path, f"run-{seed}", "iwae", 2)
        files.config.write_text(RunSpec(estimator=EstimatorSpec(name="iwae", M=1, K=64), seed=seed).to_toml())
        lost = np.nan if seed else 0.1
        noise_rows(tmp_path, f"run-{seed}", {"dreg": (dreg, 0.05), "vimco": (lost, lost)})
    found = compare(tmp_path, "iwae").set_index("what")
    assert found["stderr"]["DReG"] >= 0.5 / 3**0.5 - 1e-9
    assert set(found["verdict"]) == {"cannot tell"}


def test_a_run_measured_twice_on_the_same_noise_is_one_run(tmp_path):
    make_run(tmp_path, "one", "iwae", 2)
    noise_rows(tmp_path, "one", {"dreg": (0.7, 0.1)})
    noise_rows(tmp_path, "one", {"dreg": (0.6, 0.05)}, name="longer")
    (found,) = compare(tmp_path, "iwae").to_dict("records")
    assert (found["runs"], found["difference"], found["stderr"]) == (1, 0.6, pytest.approx(0.05))


def step_of(files, step):
    """Say that a run was evaluated, and its points kept, at another step."""
    files.evaluation.write_text(json.dumps(json.loads(files.evaluation.read_text()) | {"step": step}))
    points = files.path / "evaluation.points.parquet"
    POINTS.write(points, pd.read_parquet(points).assign(step=step))


def test_runs_that_stopped_at_different_steps_are_compared_and_it_is_said(tmp_path):
    for seed in range(3):
        files = [trained(tmp_path, name, seed, lift) for name, lift in (("iwae", 0), ("vae", 2))]
        step_of(files[1], 600 - 150 * seed)
    table = compare(tmp_path, "iwae")
    assert (row(table, "VAE")["runs"], row(table, "VAE")["points"]) == (3, N)
    (note,) = table.attrs["notes"]
    assert note == (
        "VAE and IWAE: evaluated at different steps, VAE, seed 0 at step 600, VAE, seed 1 at step 450, VAE, seed 2 at step "
        "300, IWAE, seed 0 at step 600, IWAE, seed 1 at step 600, IWAE, seed 2 at step 600; the difference is also one of "
        "training"
    )


def test_points_that_are_left_from_another_evaluation_are_not_paired(seeds):
    for path in seeds.glob("digits-vae*/evaluation.points.parquet"):
        POINTS.write(path, pd.read_parquet(path).assign(log_p=lambda points: points["log_p"] + 0.01))
    assert row(compare(seeds, "iwae"), "VAE")["points"] == 0


def of_seeds(folder, draws_of, ratios, steps=(600, 600, 600)):
    """Runs of one setting, each with a log ratio of dreg over iwae, from draws of the noise of some seeds."""
    for seed, (draws, ratio, step) in enumerate(zip(draws_of, ratios, steps, strict=True)):
        files = make_run(folder, f"run-{seed}", "iwae", 2)
        files.config.write_text(RunSpec(estimator=EstimatorSpec(name="iwae", M=1, K=64), seed=seed).to_toml())
        for number, own in enumerate([draws] if isinstance(draws, int) else draws):
            noise_rows(folder, f"run-{seed}", {"dreg": (ratio + number, 0.3)}, name=f"snr{number}", seed=own, step=step)


def test_runs_measured_on_draws_of_their_own_are_one_row(tmp_path):
    of_seeds(tmp_path, (0, 1, 2), (0.70, 0.71, 0.72))
    table = compare(tmp_path, "iwae")
    (found,) = table.to_dict("records")
    assert (found["runs"], found["difference"]) == (3, pytest.approx(0.71))
    assert found["stderr"] == pytest.approx(0.3 / 3**0.5)
    assert table.attrs["notes"] == []


def test_draws_that_runs_share_err_alike_in_all_of_them(tmp_path):
    of_seeds(tmp_path, (0, 0, 0), (0.70, 0.71, 0.72))
    table = compare(tmp_path, "iwae")
    (found,) = table.to_dict("records")
    assert found["stderr"] == pytest.approx((0.3**2 + 0.01**2 / 3) ** 0.5)
    (note,) = table.attrs["notes"]
    assert note.startswith("IWAE, digits: several runs were measured on the same draws (seed 0), whose luck they share")


def test_a_run_measured_on_several_draws_counts_once_with_their_mean(tmp_path):
    of_seeds(tmp_path, ((0, 9), 1, 2), (0.5, 1.0, 1.0))
    (found,) = compare(tmp_path, "iwae").to_dict("records")
    assert (found["runs"], found["difference"]) == (3, pytest.approx(1.0))


def test_gradients_of_runs_at_different_steps_are_taken_together_and_it_is_said(tmp_path):
    of_seeds(tmp_path, (0, 1, 2), (0.70, 0.71, 0.72), steps=(600, 400, 600))
    # An earlier step of a run is another network, and none to be averaged with.
    noise_rows(tmp_path, "run-1", {"dreg": (9.0, 0.1)}, name="earlier", seed=1, step=200)
    table = compare(tmp_path, "iwae")
    (found,) = table.to_dict("records")
    assert (found["runs"], found["difference"]) == (3, pytest.approx(0.71))
    (note,) = table.attrs["notes"]
    assert note == (
        "IWAE, digits: measured at different steps and taken together, IWAE, seed 0 at step 600, IWAE, seed 1 at step 400, "
        "IWAE, seed 2 at step 600"
    )


def test_losses_are_compared_by_their_groups(tmp_path):
    rows = [
        {"run": "mine", "step": 5, "data": "given", "seed": 0, "method": "loss", "M": 1, "K": 1, "block": block,
         "first": "with a baseline", "second": "plain", "log_ratio": 0.4, "stderr": 0.1, "ci_low": 0.2, "ci_high": 0.6,
         "verdict": "with a baseline is larger", "mode": "training"}
        for block in ("all", "actor", "actor.weight")
    ]  # fmt: skip
    COMPARISONS.write(tmp_path / "mine.comparisons.csv", COMPARISONS.complete(pd.DataFrame(rows)))
    table = compare(tmp_path, "plain")
    assert list(table["block"]) == ["all", "actor"]
    assert set(table["verdict"]) == {"higher"}
