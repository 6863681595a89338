"""Reconstructions and latent means as figures."""

import itertools

import numpy as np
import pandas as pd
import pytest

from snrkit.errors import ResultsError
from snrkit.evaluation.ssim import WINDOW
from snrkit.report import style
from snrkit.report.collect import collect
from snrkit.report.drawing import Drawing, Missing
from snrkit.report.figures import interpolations as interpolations_
from snrkit.report.figures import latents, reconstructions, samples
from snrkit.runs.folder import RunDir
from snrkit.runs.kinds.interpolations import INTERPOLATIONS
from snrkit.runs.kinds.latents import LATENTS
from snrkit.runs.kinds.reconstructions import RECONSTRUCTIONS
from snrkit.runs.kinds.samples import SAMPLES as PRIOR
from tests.report.reading import assert_readable
from tests.support.results import interpolations, prior_samples

HEIGHT, WIDTH, SAMPLES = 3, 2, 4


def images(run, points=(7, 2)):
    kinds = [("input", 1), ("q", SAMPLES), ("q_iw", SAMPLES)]
    names = [(point, kind, sample) for point in points for kind, count in kinds for sample in range(count)]
    table = pd.DataFrame(names, columns=["point", "kind", "sample"])
    table["pixels"] = [
        [point / 10 + kind_ / 100 + s / 1000] * HEIGHT * WIDTH for kind_, (point, _, s) in enumerate(names)
    ]
    return table.assign(run=run, step=5, data="digits:test[7,2]", k=50, seed=0, height=HEIGHT, width=WIDTH)


def means(run, labels, dimensions=2, layer=1):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.standard_normal((30, dimensions)), columns=[f"z{d + 1}" for d in range(dimensions)])
    table["label"] = pd.array(np.arange(30) % 3 if labels else [None] * 30, "Int64")
    return table.assign(run=run, step=5, data="digits:test[0:30]", layer=layer, point=range(30))


@pytest.fixture
def drawn():
    def draw(figure, runs):
        look = style.COLUMNS["icml"]
        with style.context(look):
            drawing = figure.draw(collect([runs]), look)
            if isinstance(drawing, Drawing):
                assert_readable(drawing.figure)
        return drawing

    return draw


def test_images_are_side_by_side_in_order(runs, drawn):
    for name in ("demo-vae", "demo_iwae"):
        RECONSTRUCTIONS.write(RunDir(runs / name).reconstructions, images(name))
    drawing = drawn(reconstructions, runs)
    assert len(drawing.figure.axes) == 6
    shown = [np.asarray(axes.images[0].get_array()) for axes in drawing.figure.axes[:3]]
    # One pixel of frame around each image.
    assert [image.shape for image in shown] == [(10, 4), (10, 16), (10, 16)]
    table = images("demo-vae").set_index(["kind", "point", "sample"]).pixels
    for row, point in enumerate((2, 7)):
        for sample in range(SAMPLES):
            inner = shown[2][5 * row + 1 : 5 * row + 4, 4 * sample + 1 : 4 * sample + 3]
            np.testing.assert_allclose(inner.ravel(), table["q_iw", point, sample])
    assert len(drawing.data) == 2 * 2 * (1 + 2 * SAMPLES)
    assert drawing.data.pixels.map(lambda text: len(text.split())).eq(HEIGHT * WIDTH).all()
    assert "; IWAE, step 5" in drawing.caption


def test_mean_ssim_of_each_kind_is_in_its_title(runs, drawn):
    table = images("demo-vae")
    RECONSTRUCTIONS.write(RunDir(runs / "demo_iwae").reconstructions, images("demo_iwae"))  # of an older snrkit
    values = {"input": np.nan, "q": 0.5, "q_iw": 0.7514}
    RECONSTRUCTIONS.write(RunDir(runs / "demo-vae").reconstructions, table.assign(ssim=table["kind"].map(values)))
    drawing = drawn(reconstructions, runs)
    titles = [axes.get_title() for axes in drawing.figure.axes]
    assert titles == [
        "input\n", "z ~ q(z|x)\nSSIM 0.500", "z ~ q$_{IW}$, k = 50\nSSIM 0.751",
        "input", "z ~ q(z|x)", "z ~ q$_{IW}$, k = 50",
    ]  # fmt: skip
    assert f"structural similarity with the input ({reconstructions.WINDOW})" in drawing.caption
    assert "mean SSIM of q 0.500" in drawing.alt
    assert WINDOW.startswith(reconstructions.WINDOW)
    assert drawing.data["ssim"].notna().sum() == 2 * 2 * SAMPLES


@pytest.mark.parametrize("column", style.COLUMNS)
@pytest.mark.parametrize("samples", [1, 5])
def test_images_fill_the_column_and_lie_apart(column, samples):
    look = style.COLUMNS[column]
    table = images("demo")
    table = table[table["sample"] < samples].assign(ssim=0.5)
    with style.context(look):
        drawing = reconstructions.draw_tables([table, table.assign(run="other")], look)
        assert_readable(drawing.figure)
        boxes = [axes.get_window_extent() for axes in drawing.figure.axes]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    # A pixel is as large in every panel.
    sizes = [
        box.width / axes.images[0].get_array().shape[1] for box, axes in zip(boxes, drawing.figure.axes, strict=True)
    ]
    np.testing.assert_allclose(sizes, sizes[0])


def test_more_points_than_fit_a_page_are_left_out_with_a_note(runs, drawn):
    RECONSTRUCTIONS.write(RunDir(runs / "demo-vae").reconstructions, images("demo-vae", points=range(100)))
    drawing = drawn(reconstructions, runs)
    shown = sorted(drawing.data["point"].unique())
    assert shown == list(range(len(shown)))
    assert drawing.notes == (f"{100 - len(shown)} of 100 test points of a run do not fit and are not drawn",)
    assert drawing.figure.get_figheight() < 9
    assert len(reconstructions.draw_tables([images("demo", points=range(100))], style.COLUMNS["icml"]).data) == 900


def test_scatter_of_two_dimensional_layers_only(runs, drawn):
    deep = pd.concat([means("demo-vae", True, dimensions=5), means("demo-vae", True, layer=2)], ignore_index=True)
    LATENTS.write(RunDir(runs / "demo-vae").latents, deep)
    LATENTS.write(RunDir(runs / "demo_iwae").latents, means("demo_iwae", labels=False))
    drawing = drawn(latents, runs)
    labelled, plain = drawing.figure.axes
    assert [line.get_label() for line in labelled.lines] == ["0", "1", "2"]
    assert "layer 2" in labelled.get_title()
    assert len(plain.lines) == 1
    assert [text.get_text() for text in drawing.figure.legends[0].get_texts()] == ["0", "1", "2"]
    np.testing.assert_array_equal(plain.lines[0].get_xdata(), means("", False).z1)
    assert len(drawing.data) == 60


def test_samples_fill_rows_of_ten(runs, drawn):
    PRIOR.write(runs / "demo-vae" / "prior-samples.parquet", prior_samples())
    drawing = drawn(samples, runs)
    means, pixels = (np.asarray(axes.images[0].get_array()) for axes in drawing.figure.axes)
    assert means.shape == pixels.shape == (2 * 4, 10 * 4)
    shown = prior_samples().set_index(["kind", "sample"]).pixels
    for sample in range(13):
        row, column = divmod(sample, 10)
        for kind, image in (("mean", means), ("drawn", pixels)):
            inner = image[4 * row + 1 : 4 * row + 3, 4 * column + 1 : 4 * column + 3]
            np.testing.assert_allclose(inner.ravel(), shown[kind, sample])
    assert (means[4:, 12:] == 0).all()
    assert len(drawing.data) == 26


def test_lines_lie_between_their_data_points(runs, drawn):
    INTERPOLATIONS.write(runs / "demo-vae" / "interpolations.parquet", interpolations())
    drawing = drawn(interpolations_, runs)
    assert [axes.get_title() for axes in drawing.figure.axes] == ["from", "decoded", "to"]
    first, between, last = (np.asarray(axes.images[0].get_array()) for axes in drawing.figure.axes)
    table = interpolations()
    for image, own in ((first, (0, 0.0, "input")), (last, (1, 1.0, "input")), (between, (1, 0.0, "mean"))):
        pair, t, kind = own
        (expected,) = table[(table.pair == pair) & (table.t == t) & (table.kind == kind)].pixels
        np.testing.assert_allclose(image[4 * pair + 1 : 4 * pair + 3, 1:3].ravel(), expected)
    assert between.shape == (8, 16)


def test_sentences_are_told_of_and_images_drawn(runs, drawn):
    words = pd.DataFrame({"sample": [0, 1], "kind": "greedy", "text": ["a", ""], "z": [[0.0], [1.0]]})
    words = words.assign(run="demo_iwae", step=5, data="text", seed=0)
    PRIOR.write(runs / "demo_iwae" / "prior-samples.parquet", words)
    alone = drawn(samples, runs)
    assert isinstance(alone, Missing)
    assert "samples of demo_iwae are sentences" in alone.reason
    PRIOR.write(runs / "demo-vae" / "prior-samples.parquet", prior_samples())
    drawing = drawn(samples, runs)
    assert drawing.notes == ("samples of demo_iwae are sentences: read its table",)
    assert set(drawing.data["run"]) == {"demo"}


def test_wider_latents_are_shown_by_principal_components(runs, drawn):
    """Points in a plane within five dimensions are seen as they lie in it, up to a turn."""
    rng = np.random.default_rng(1)
    plane = rng.standard_normal((40, 2)) * [3.0, 1.0]
    basis = np.linalg.qr(rng.standard_normal((5, 2)))[0]
    table = means("demo-vae", labels=True, dimensions=3).iloc[:0]
    wide = plane @ basis.T + 7.0
    for layer, columns in ((1, wide[:, :3]), (2, wide[:, 3:])):
        part = pd.DataFrame(columns, columns=[f"z{d + 1}" for d in range(columns.shape[1])])
        label = pd.array(np.arange(40) % 3, "Int64")
        part = part.assign(label=label, run="demo-vae", step=5, data="digits:test[0:40]", layer=layer, point=range(40))
        table = pd.concat([table, part], ignore_index=True) if len(table) else part
    # Neither layer has two dimensions alone.
    table["z4"] = np.where(table["layer"] == 2, 0.5, np.nan)
    LATENTS.write(RunDir(runs / "demo-vae").latents, table)
    drawing = drawn(latents, runs)
    found = drawing.data[["z1", "z2"]].to_numpy()
    centred = plane - plane.mean(axis=0)
    np.testing.assert_allclose(found @ found.T, centred @ centred.T, atol=1e-10)
    assert found[:, 0].var() > found[:, 1].var()
    shares = [float(share) for share in drawing.data["explained"].iloc[0].split()]
    assert sum(shares) == pytest.approx(1, abs=1e-3)
    (axes,) = drawing.figure.axes
    assert axes.get_xlabel() == f"component 1 ({shares[0]:.0%})"
    assert "principal components" in drawing.caption
    assert "all layers: 40 points" in drawing.alt


def test_one_dimension_is_no_scatter(runs, drawn):
    LATENTS.write(RunDir(runs / "demo-vae").latents, means("demo-vae", True, dimensions=1))
    assert isinstance(drawn(latents, runs), Missing)


@pytest.mark.parametrize("figure", [reconstructions, latents, samples, interpolations_])
def test_without_data_the_command_is_named(figure, runs, drawn):
    missing = drawn(figure, runs)
    assert isinstance(missing, Missing)
    assert "snrkit" in missing.reason


@pytest.mark.parametrize(("figure", "name"), [(reconstructions, "reconstructions"), (latents, "latents")])
def test_damaged_tables_are_named(figure, name, runs, drawn):
    path = getattr(RunDir(runs / "demo-vae"), name)
    path.write_bytes(b"no parquet")
    with pytest.raises(ResultsError, match="not a readable Parquet"):
        drawn(figure, runs)
    pd.DataFrame({"run": ["a"]}).to_parquet(path)
    with pytest.raises(ResultsError, match=r"columns missing: .*step"):
        drawn(figure, runs)
