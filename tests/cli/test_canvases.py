"""``snrkit canvases`` as a user meets it."""

import numpy as np
import pytest

import snrkit as library
from snrkit.errors import SpecError
from snrkit.runs.kinds.canvases import CANVASES


def test_command_and_method(snrkit, tmp_path):
    options = {"steps": 2, "hidden": 4, "latent": 2, "read": 2, "write": 0}
    spec = library.RunSpec.parse({"model": {"name": "draw", "options": options}, "epochs": 0}, "test")
    run = library.train(spec, tmp_path / "run", device="cpu")
    result = snrkit("canvases", "--ckpt", tmp_path / "run", "--points", "3,1")
    assert (result.code, result.err) == (0, "")
    first, *steps, table, pdf, png = result.out.splitlines()
    assert first == "2 test points in 2 steps"
    assert [line.split(":")[0] for line in steps] == ["step 1", "step 2"]
    assert [path.rsplit(".")[-1] for path in (table, pdf, png)] == ["parquet", "pdf", "png"]
    found = CANVASES.read(run.path / "canvases.parquet")
    assert found.data.unique().tolist() == ["digits:test[3,1] dynamic seed 0"]
    samples = run.sample(2).table
    last = run.canvases([1], of="prior").table.iloc[-1]
    np.testing.assert_allclose(last.pixels, samples.query("sample == 1").pixels.iloc[0], rtol=1e-5)
    with pytest.raises(SpecError, match="of: cannot be 'train'; choose from test, prior"):
        run.canvases(of="train")
    assert snrkit("canvases", "--ckpt", tmp_path / "run", "--points", "9999").refused("--points", "9999")
