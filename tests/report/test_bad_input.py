"""Result files that are not as they should be: an error that names file and remedy, or NaN where a number is infinite."""

import json

import numpy as np
import pandas as pd
import pytest

from snrkit.errors import ResultsError, SnrkitError
from snrkit.report import style
from snrkit.report.build import build
from snrkit.report.collect import collect
from snrkit.report.drawing import Drawing
from snrkit.report.figures import snr_vs_k
from snrkit.report.save import Destination
from snrkit.runs.kinds.snr import SNR
from tests.support.results import (
    advice,
    canvases,
    draws,
    images,
    interpolations,
    latents,
    make_run,
    points,
    prior_samples,
    slopes,
    table,
)

PUBLISHED = "data,estimator,options,M,K,metric,value,error,reference\ndigits,iwae,,1,64,log_p,{},0.1,someone\n"


@pytest.fixture
def demo(tmp_path):
    """A run with a file of every kind."""
    folder = make_run(tmp_path, "demo", "iwae", epochs=3).path
    slopes().drop(columns="source").to_csv(folder / "snr.slopes.csv", index=False)
    draws().to_parquet(folder / "snr.draws.parquet")
    points().to_parquet(folder / "evaluation.points.parquet")
    images().to_parquet(folder / "reconstructions.parquet")
    latents().to_parquet(folder / "latents.parquet")
    prior_samples().to_parquet(folder / "prior-samples.parquet")
    canvases().to_parquet(folder / "canvases.parquet")
    interpolations().to_parquet(folder / "interpolations.parquet")
    (folder / "some.published.csv").write_text(PUBLISHED.format(-84))
    found = advice()
    content = {"run": "demo", "step": 600, "data": "digits", "budget": 64, "draws": 400}
    content |= {"recommendations": found["reasons"].iloc[0], "table": found.drop(columns="reasons").to_dict("records")}
    (folder / "advice.json").write_text(json.dumps(content))
    return folder


def edit(path, change):
    change(pd.read_parquet(path)).to_parquet(path)


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


KINDS = {
    "advice": "advice.json", "metrics": "metrics.jsonl", "points": "evaluation.points.parquet",
    "draws": "snr.draws.parquet", "slopes": "snr.slopes.csv", "published": "some.published.csv",
    "latents": "latents.parquet", "reconstructions": "reconstructions.parquet", "samples": "prior-samples.parquet",
    "interpolations": "interpolations.parquet", "canvases": "canvases.parquet",
}  # fmt: skip


def test_sound_files_are_read(demo):
    found = collect([demo])
    assert all(len(found[kind]) for kind in KINDS)


@pytest.mark.rest_slow
@pytest.mark.parametrize(
    ("kind", "damage", "problem"),
    [
        ("advice", lambda p: replace(p, "seconds_per_step", "seconds"), "columns missing: seconds_per_step"),
        ("advice", lambda p: replace(p, '"M": 64', '"M": "many"'), "column 'M' holds something else"),
        ("metrics", lambda p: p.write_text('{"epoch": 1, "step": 1, "bound": "abc"}\n'), "column 'bound'.*abc"),
        ("metrics", lambda p: p.write_text('{"epoch": 1, "step": [1]}\n'), "column 'step'"),
        ("points", lambda p: edit(p, lambda t: t.drop(columns="step")), "columns missing: step"),
        ("points", lambda p: edit(p, lambda t: t.assign(ess_64="x")), "column 'ess_64'"),
        ("draws", lambda p: edit(p, lambda t: t.drop(columns="step")), "columns missing: step"),
        ("draws", lambda p: edit(p, lambda t: t.assign(K=np.nan)), "column 'K'"),
        ("slopes", lambda p: p.write_text("axis,slope\nK,1\n"), "columns missing: run, step"),
        ("slopes", lambda p: replace(p, "0.013", "abc"), "column 'stderr'"),
        ("published", lambda p: p.write_text(PUBLISHED.format("high")), "column 'value'"),
        ("latents", lambda p: edit(p, lambda t: t.assign(label="a")), "column 'label'"),
        ("latents", lambda p: edit(p, lambda t: t.assign(z2="far")), "column 'z2'"),
        ("reconstructions", lambda p: edit(p, lambda t: t.assign(height=3)), "'pixels' are not height x width"),
        ("reconstructions", lambda p: edit(p, lambda t: t.assign(pixels=[[np.nan] * 4] * len(t))), "'pixels'"),
        ("reconstructions", lambda p: edit(p, lambda t: t.iloc[:-1]), "rows are missing"),
        ("reconstructions", lambda p: edit(p, lambda t: t[t["kind"] != "q"]), "rows are missing"),
        ("samples", lambda p: edit(p, lambda t: t.assign(width=3)), "'pixels' are not height x width"),
        ("samples", lambda p: edit(p, lambda t: t.drop(columns="pixels")), "columns missing: pixels"),
        ("samples", lambda p: edit(p, lambda t: t.assign(kind="odd")), "column 'kind' holds 'odd'"),
        ("samples", lambda p: edit(p, lambda t: t.assign(sample=0)), "a sample is there twice"),
        ("interpolations", lambda p: edit(p, lambda t: t[t["place"] != 1]), "rows are missing"),
        ("interpolations", lambda p: edit(p, lambda t: t[t["point"] != 3]), "rows are missing"),
        ("interpolations", lambda p: edit(p, lambda t: t.assign(t=-0.5)), "column 't' holds -0.5"),
        ("canvases", lambda p: edit(p, lambda t: t[t["t"] != 2]), "rows are missing"),
        ("canvases", lambda p: edit(p, lambda t: t.iloc[1:]), "rows are missing"),
        ("canvases", lambda p: edit(p, lambda t: t.assign(kind="odd")), "column 'kind' holds 'odd'"),
        ("canvases", lambda p: edit(p, lambda t: t.assign(width=3)), "'pixels' are not height x width"),
    ],
)
def test_the_file_and_what_is_wrong_with_it_are_named(demo, kind, damage, problem):
    damage(demo / KINDS[kind])
    with pytest.raises(ResultsError, match=problem) as caught:
        collect([demo])[kind]
    assert caught.value.argument == str(demo / KINDS[kind])


def test_infinite_ends_of_intervals_are_no_ends(demo):
    frame = SNR.read(demo / "snr.parquet")
    SNR.write(demo / "snr.parquet", frame.assign(ci_high=np.where(frame["K"] == 10, np.inf, frame["ci_high"])))
    found = collect([demo])
    assert found["snr"]["ci_high"].isna().sum() == (frame["K"] == 10).sum()
    look = style.COLUMNS["icml"]
    with style.context(look):
        drawing = snr_vs_k.figure.draw(found, look)
    assert isinstance(drawing, Drawing)
    assert np.isfinite([axes.get_ylim() for axes in drawing.figure.axes]).all()


def test_no_finite_interval_at_all(tmp_path):
    SNR.write(tmp_path / "bare.parquet", table("demo", ["iwae"]).assign(ci_high=np.inf, ci_low=-np.inf, floor=np.inf))
    look = style.COLUMNS["icml"]
    with style.context(look):
        drawing = snr_vs_k.figure.draw(collect([tmp_path]), look)
    assert np.isfinite([axes.get_ylim() for axes in drawing.figure.axes]).all()


def test_no_rows_are_no_data(demo):
    edit(demo / "reconstructions.parquet", lambda t: t.head(0))
    replace(demo / "advice.json", '"table": [', '"table": [], "rest": [')
    found = collect([demo])
    assert found["reconstructions"].empty
    assert found["advice"].empty


@pytest.mark.rest_slow
@pytest.mark.parametrize(
    ("kind", "damage", "problem"),
    [
        ("metrics", lambda p: p.write_text('{"epoch": -1, "step": 1}\n'), "not a JSON object with an epoch"),
        ("metrics", lambda p: p.write_text('{"epoch": 1, "step": ' + "9" * 40 + "}\n"), "not a JSON object"),
        ("metrics", lambda p: p.write_text("[" * 100_000 + "\n"), "cannot be read|JSON"),
        ("evaluations", lambda p: replace(p, '"points": 300', '"points": -3'), "'points' holds -3"),
        (
            "evaluations",
            lambda p: replace(p, '"stderr": 0.312', '"stderr": -0.312'),
            "'stderr' holds -0.312",
        ),
        ("evaluations", lambda p: p.write_text("[1]"), "not an evaluation"),
        ("evaluations", lambda p: p.write_bytes(b"\xff\xfe"), "cannot be read"),
        ("draws", lambda p: edit(p, lambda t: t.assign(K=-3)), "'K' holds -3"),
        ("points", lambda p: p.write_bytes(p.read_bytes()[:200]), "not a readable Parquet file"),
        ("slopes", lambda p: replace(p, "0.013", "-0.013"), "'stderr' holds -0.013"),
        ("slopes", lambda p: p.write_bytes(b"\x00\xff" * 90), "not a readable|missing"),
        ("published", lambda p: p.write_text(""), "not a readable CSV file"),
        ("reconstructions", lambda p: edit(p, lambda t: t.assign(height=-2, width=-2)), "'(height|width)' holds -2"),
        ("latents", lambda p: edit(p, lambda t: t.assign(layer=0)), "'layer' holds 0"),
        ("advice", lambda p: replace(p, '"M": 64', '"M": 0'), "'M' holds 0"),
        ("advice", lambda p: p.write_text("[" * 100_000), "cannot be read"),
    ],
)
def test_values_out_of_range_and_bytes_of_any_kind(demo, kind, damage, problem):
    path = demo / {**KINDS, "evaluations": "evaluation.json"}[kind]
    damage(path)
    with pytest.raises(ResultsError, match=problem) as caught:
        collect([demo])[kind]
    assert caught.value.argument == str(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "seed = " + "9" * 5000, "x = " + "[" * 100_000, "\x00", "epochs = -1"])
def test_a_config_of_any_kind_is_named(demo, text):
    (demo / "config.toml").write_text(text)
    with pytest.raises(SnrkitError) as caught:
        collect([demo])["evaluations"]
    assert "\n" not in str(caught.value)


def test_numbers_that_no_axis_can_show_are_left_out(demo):
    (demo / "metrics.jsonl").write_text(
        '{"epoch": 1, "step": 1, "bound": 1e308}\n{"epoch": 2, "step": 2, "bound": -1e308}\n'
    )
    assert collect([demo])["metrics"]["bound"].isna().all()


def test_what_no_check_foresaw_names_the_files(demo, tmp_path, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr(snr_vs_k, "draw_rate", broken)
    with pytest.raises(ResultsError, match="'snr_vs_k' cannot be made of what is there") as caught:
        build([demo], Destination(tmp_path / "out", ("snrkit", "report"), style.COLUMNS["icml"]), figures=["snr_vs_k"])
    assert "snr.parquet" in caught.value.argument
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "\n" not in str(caught.value)
