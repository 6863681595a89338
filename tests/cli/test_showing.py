"""``snrkit sample`` and ``snrkit interpolate`` as a user meets them."""

import json

import numpy as np
import pandas as pd
import pytest

import snrkit as library
from snrkit.errors import SpecError
from snrkit.runs.kinds.interpolations import INTERPOLATIONS
from snrkit.runs.kinds.samples import SAMPLES
from snrkit.showing import Interpolations, Samples
from tests.support.text import write


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("showing") / "small"
    options = {"hidden": [6], "latent": 3}
    spec = library.RunSpec.parse({"model": {"name": "mlp", "options": options}, "epochs": 0}, "test")
    library.train(spec, folder, device="cpu")
    return folder


@pytest.fixture
def digits_run(trained, tmp_path):
    import shutil

    return shutil.copytree(trained, tmp_path / "small")


def test_samples_as_files_and_as_json(snrkit, digits_run):
    result = snrkit("sample", "--ckpt", digits_run, "--number", 12, "--drawn", "--quiet")
    assert (result.code, result.err) == (0, "")
    first, *files = result.out.splitlines()
    assert first == "12 samples of the prior, 8 x 8 pixels: mean, drawn"
    assert files == [str(digits_run / f"prior-samples.{ending}") for ending in ("parquet", "pdf", "png")]
    table = SAMPLES.read(digits_run / "prior-samples.parquet")
    assert table.groupby("kind").size().to_dict() == {"drawn": 12, "mean": 12}
    assert table[["run", "step", "data", "seed", "height", "width"]].iloc[0].tolist() == [
        "small", 0, "digits", 0, 8, 8,
    ]  # fmt: skip
    assert (digits_run / "prior-samples.png").read_bytes()[:4] == b"\x89PNG"
    found = json.loads(snrkit("sample", "--ckpt", digits_run, "--number", 3, "--json").out)
    assert (found["run"], found["rows"], found["files"]) == ("small", 3, files)


def test_interpolations_as_files(snrkit, digits_run, tmp_path):
    result = snrkit("interpolate", "--ckpt", digits_run, "--pairs", 2, "--steps", 4)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[0] == "2 lines of 4 images between test points"
    table = INTERPOLATIONS.read(digits_run / "interpolations.parquet")
    assert table.data.unique().tolist() == ["digits:test[0,1,2,3] dynamic seed 0"]
    assert table.groupby("kind").size().to_dict() == {"input": 4, "mean": 8}
    argv = ["interpolate", "--ckpt", digits_run, "--between", "prior", "--steps", 2, "--out", tmp_path / "line.png"]
    assert snrkit(*argv).code == 0
    prior = INTERPOLATIONS.read(tmp_path / "line.parquet")
    assert (set(prior.between), set(prior.kind), set(prior.data)) == ({"prior"}, {"mean"}, {"digits"})
    assert (tmp_path / "line.pdf").exists()


def test_the_same_from_python(digits_run):
    run = library.Run.open(digits_run, device="cpu")
    found = run.sample(3)
    assert [file.name for file in found.save()] == [f"prior-samples.{end}" for end in ("parquet", "pdf", "png")]
    pd.testing.assert_frame_equal(found.table[["sample", "kind"]], SAMPLES.read(run.path / "prior-samples.parquet")[
        ["sample", "kind"]
    ], check_dtype=False)  # fmt: skip
    line = run.interpolate(1, steps=2, between="prior").table
    np.testing.assert_allclose(np.stack(line["z"]), np.stack(found.table["z"])[:2], rtol=1e-6)
    with pytest.raises(SpecError, match="between: cannot be 'train'; choose from test, prior"):
        run.interpolate(between="train")


def test_a_model_of_sentences(snrkit, tmp_path):
    options = {"model.name": "sentence", "model.options.embed": 5, "model.options.hidden": 6, "model.options.latent": 2}
    settings = {"data.name": "text", "data.path": f'"{write(tmp_path, 200)}"', "data.min_count": 1, **options}
    given = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    train = ["train", *given, "--estimator", "vae", "--K", 1, "--epochs", 0, "--out", tmp_path / "words", "--quiet"]
    assert snrkit(*train).code == 0
    result = snrkit("sample", "--ckpt", tmp_path / "words", "--number", 2)
    assert (result.code, result.err) == (0, "")
    written = (tmp_path / "words" / "prior-samples.txt").read_text().splitlines()
    assert result.out.splitlines()[:4] == written
    assert [line.split(":")[0] for line in written] == ["0 greedy", "0 sampled", "1 greedy", "1 sampled"]
    found = json.loads(snrkit("interpolate", "--ckpt", tmp_path / "words", "--pairs", 1, "--steps", 3, "--json").out)
    run = library.Run.open(tmp_path / "words", device="cpu")
    x, _ = run.points(2)
    texts = {(row["t"], row["kind"]): row["text"] for row in found["sentences"]}
    assert [texts[0, "input"], texts[1, "input"]] == run.model.texts(x)
    ends = run.model.encode(x).loc
    middle = run.model.texts(run.model.decode(ends.mean(dim=0, keepdim=True)))
    assert texts[0.5, "greedy"] == middle[0]


def test_sentences_are_written_one_a_line(tmp_path):
    about = {"run": "r", "step": 1, "data": "text", "seed": 0}
    rows = [(1, "greedy", "b"), (0, "greedy", "a"), (0, "sampled", "=c"), (1, "sampled", "")]
    table = pd.DataFrame(rows, columns=["sample", "kind", "text"]).assign(z=[[0.0]] * 4, **about)
    files = Samples(table, None).save(tmp_path / "a.parquet")
    assert [file.name for file in files] == ["a.parquet", "a.txt"]
    assert files[1].read_text() == "0 greedy: a\n0 sampled: =c\n1 greedy: b\n1 sampled: \n"
    pd.testing.assert_frame_equal(
        SAMPLES.read(files[0])[["sample", "text"]], table[["sample", "text"]], check_dtype=False
    )
    rows = [
        (0, 0, 0.0, "greedy", "x"),
        (0, 1, 1.0, "greedy", "y"),
        (0, 0, 0.0, "input", "X"),
        (0, 1, 1.0, "input", "Y"),
    ]
    line = pd.DataFrame(rows, columns=["pair", "place", "t", "kind", "text"])
    line = line.assign(z=[[0.0]] * 4, point=0.0, between="test", **about)
    found = Interpolations(line, None)
    assert list(found.lines()) == ["0 input: X", "0 t=0.00: x", "0 t=1.00: y", "0 input: Y"]
    assert len(INTERPOLATIONS.read(found.save(tmp_path / "b.txt")[0])) == 4


@pytest.mark.rest_slow
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["interpolate", "--pairs", 151], ["--pairs: 151 asked for", "for 150"]),
        (["interpolate", "--steps", 1], ["--steps"]),
        (["interpolate", "--between", "train"], ["--between"]),
        (["sample", "--number", 0], ["--number"]),
        (["sample", "--out", "/proc/no/file"], ["/proc/no/file.parquet", "cannot be written"]),
        (["sample", "--ckpt", "nowhere"], ["no checkpoint at 'nowhere'"]),
    ],
)
def test_bad_input(snrkit, digits_run, argv, words, contents):
    before = contents(digits_run)
    assert snrkit(argv[0], "--ckpt", digits_run, *argv[1:]).refused(*words)
    assert contents(digits_run) == before


def test_too_many_are_refused_before_any_work(snrkit, digits_run, contents):
    before = contents(digits_run)
    for argv in (["sample", "--number"], ["interpolate", "--between", "prior", "--steps"]):
        snrkit(*argv, 10**15, "--ckpt", digits_run).refused(argv[-1], "TB", code=4)
    assert contents(digits_run) == before


@pytest.mark.parametrize("command", ["sample", "interpolate"])
def test_a_model_that_decodes_nothing(snrkit, toy_run, command):
    assert snrkit(command, "--ckpt", toy_run).refused("Gaussian has no pixel_means", "images or sentences")


def test_a_file_that_is_no_ones_of_ours_is_kept(snrkit, digits_run, tmp_path):
    """The name of the table is given, and what would go beside it is there already."""
    mine = tmp_path / "mine.png"
    mine.write_text("mine")
    result = snrkit("sample", "--ckpt", digits_run, "--number", 2, "--out", tmp_path / "mine.parquet")
    assert result.code == 2
    assert "is there already, and no mine.parquet to which it belongs" in result.err
    assert mine.read_text() == "mine"
    assert not (tmp_path / "mine.parquet").exists()
