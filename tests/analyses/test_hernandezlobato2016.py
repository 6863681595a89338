"""The IWAER analysis: the paper's setting, trials that are not made twice, and what the page says of known numbers."""

import tomllib

import pandas as pd
import pytest

from analyses.hernandezlobato2016 import run as analysis
from analyses.hernandezlobato2016 import text
from snrkit.errors import SnrkitError

pytestmark = pytest.mark.slow

TINY = {
    "scale": "tiny", "trials": 2, "data": ["digits"], "train_limit": 40, "epochs": 1, "batch_size": 20, "K": 3,
    "hidden": 6, "latent": 4, "initial_scale": 0.1, "test_points": 3, "samples": 128, "snr": {"points": 2, "draws": 8},
}  # fmt: skip


@pytest.mark.parametrize("name", ["cpu", "full"])
def test_settings_make_valid_specs(name):
    settings = tomllib.loads((analysis.ANALYSIS.home / f"{name}.toml").read_text())
    specs = [analysis.spec_of(system, "mnist", 3, settings) for system in text.SYSTEMS]
    assert all(spec.seed == 3 and spec.estimator.name == "iwae" for spec in specs)
    if name == "full":
        assert {(spec.batch_size, spec.estimator.K, spec.epochs, spec.data.train_limit) for spec in specs} == {
            (100, 25, 500, None)
        }
        assert specs[0].model.options == {"hidden": [400], "latent": 20}
        assert [spec.model.options.get("random") for spec in specs] == [None, "both", "recognition"]
        assert settings["samples"] == 2000


def test_trials_are_made_once_and_measured(tmp_path):
    first = analysis.trials(TINY, tmp_path)
    assert list(zip(first.trial, first.system, strict=True)) == [(t, s) for t in range(2) for s in text.SYSTEMS]
    assert first.log_p.nunique() == 6
    assert (first.log_p >= first.iwae_64).all()
    pd.testing.assert_frame_equal(analysis.trials(TINY, tmp_path), first)  # the seconds too: nothing was done again
    assert first.median_scale.isna().tolist() == [system == "IWAE" for system in first.system]
    more = analysis.trials(TINY | {"samples": 192, "test_points": 2}, tmp_path)
    assert set(more.points) == {"digits:test[0:2] dynamic seed 0"}  # other scores of the same trials
    assert (more.step == first.step).all()
    with pytest.raises(SnrkitError):  # other trials under the same names
        analysis.trials(TINY | {"K": 4}, tmp_path)
    table = analysis.snr(TINY, tmp_path)
    for system, scales in (("IWAE", 0), ("IWAER", 8), ("IWAER_rec", 4)):
        blocks = set(table[table.system == system].block)
        assert sum(block.endswith("log_scale") for block in blocks) == scales
    assert {"encoder.0.weight", "decoder.2.weight"} <= set(table[table.system == "IWAE"].block)


def test_page_of_known_numbers():
    """Over a base that varies more: gains of 4, 5 and 6, told from 0, and of 1, 2 and 3, which are not (t = 3.5 < 4.3)."""
    rows = [
        {"data": "mnist", "system": system, "trial": trial, "log_p": base + gain, "median_scale": 0.25}
        for trial, base in enumerate((-100.0, -110.0, -120.0))
        for system, gain in (("IWAE", 0.0), ("IWAER", trial + 4.0), ("IWAER_rec", trial + 1.0))
    ]
    page = text.trials(pd.DataFrame(rows), TINY)
    assert "-110.000 ± 5.774" in page
    assert "+5.000 ± 0.577 (published +0.836) | 0.250 | above IWAE, as published" in page
    assert "+2.000 ± 0.577 (published +0.473) | 0.250 | not told from IWAE" in page
    assert "omniglot" not in page.split("##")[1]
