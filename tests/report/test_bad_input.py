"""Result files that are not as they should be: an error that names file and remedy, or NaN where a number is infinite."""

import json

import numpy as np
import pandas as pd
import pytest

from snrkit.errors import ResultsError
from snrkit.report import style
from snrkit.report.collect import collect
from snrkit.report.drawing import Drawing
from snrkit.report.figures import snr_vs_k
from snrkit.results import read_table, write_table

from .conftest import advice, draws, images, latents, make_run, points, slopes, table

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
    "latents": "latents.parquet", "reconstructions": "reconstructions.parquet",
}  # fmt: skip


def test_sound_files_are_read(demo):
    found = collect([demo])
    assert all(len(found[kind]) for kind in KINDS)


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
    ],
)
def test_the_file_and_what_is_wrong_with_it_are_named(demo, kind, damage, problem):
    damage(demo / KINDS[kind])
    with pytest.raises(ResultsError, match=problem) as caught:
        collect([demo])[kind]
    assert caught.value.argument == str(demo / KINDS[kind])


def test_infinite_ends_of_intervals_are_no_ends(demo):
    frame = read_table(demo / "snr.parquet")
    write_table(demo / "snr.parquet", frame.assign(ci_high=np.where(frame["K"] == 10, np.inf, frame["ci_high"])))
    found = collect([demo])
    assert found["snr"]["ci_high"].isna().sum() == (frame["K"] == 10).sum()
    look = style.COLUMNS["icml"]
    with style.context(look):
        drawing = snr_vs_k.figure.draw(found, look)
    assert isinstance(drawing, Drawing)
    assert np.isfinite([axes.get_ylim() for axes in drawing.figure.axes]).all()


def test_no_finite_interval_at_all(tmp_path):
    write_table(tmp_path / "bare.parquet", table("demo", ["iwae"]).assign(ci_high=np.inf, ci_low=-np.inf, floor=np.inf))
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
