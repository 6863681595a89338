"""Tables as pandas leaves them: the same readings come out, or a line says what is wrong; nothing is lost on the way."""

import numpy as np
import pandas as pd
import pytest

import snrkit
from snrkit.errors import ResultsError, SpecError
from tests.support.results import table as demo

pytestmark = pytest.mark.usefixtures("svg_alone")

ORDER = ["block", "K", "metric"]
TEXTS = ["run", "estimator", "block", "metric", "options", "data", "method", "scope", "dtype"]


@pytest.fixture
def table():
    return demo("demo", ["iwae"], (1, 8, 64), outer=(1,)).assign(dtype="float32", parameters="aaaa")


def plotted(table):
    return snrkit.plot.snr_vs_k(table).data.sort_values(ORDER)["value"].tolist()


def reported(table, folder, figure="snr_vs_k"):
    snrkit.report(table, folder, figures=[figure], page=False)
    return pd.read_csv(folder / f"{figure}.csv").sort_values(ORDER)


ODD = {
    "categories": lambda rows: rows.astype(dict.fromkeys([*TEXTS, "K"], "category")),
    "categories that no row has": lambda rows: rows.assign(block=rows["block"].astype("category").cat.add_categories("w")),
    "floats": lambda rows: rows.astype({"K": float, "M": float, "draws": float, "seed": float}),
    "objects": lambda rows: rows.astype(object),
    "nullable": lambda rows: pd.DataFrame(rows).convert_dtypes(),
    "an index of columns": lambda rows: rows.set_index(["estimator", "K", "block"]),
    "an index of zeros": lambda rows: rows.set_axis([0] * len(rows)),
    "another order": lambda rows: rows.sample(frac=1.0, random_state=3),
    "rows twice": lambda rows: pd.concat([rows, rows]),
    "no options": lambda rows: rows.assign(options=None),
}  # fmt: skip


@pytest.fixture(scope="module")
def as_it_is():
    """What is drawn of the table as snrkit made it."""
    return plotted(demo("demo", ["iwae"], (1, 8, 64), outer=(1,)).assign(dtype="float32", parameters="aaaa"))


@pytest.mark.parametrize("change", ODD.values(), ids=list(ODD))
def test_a_table_that_pandas_made_says_the_same(table, tmp_path, change, as_it_is):
    odd = change(table)
    assert plotted(odd) == as_it_is
    # A report completes tables as this does.
    kept = snrkit.load_table(snrkit.save_table(odd, tmp_path / "kept.parquet"))
    assert plotted(kept) == as_it_is


WRONG = {
    "a column twice": (lambda rows: pd.concat([rows, rows[["value"]]], axis=1), "has columns twice: value"),
    "numbers as text": (lambda rows: rows.assign(K=rows["K"].astype(str)), "column 'K' holds something else than whole"),
    "no number": (lambda rows: rows.assign(K=rows["K"].where(rows["K"] > 1)), "column 'K' holds something else than whole"),
    "half a sample": (lambda rows: rows.assign(K=rows["K"] + 0.5), "column 'K' holds something else than whole numbers"),
    "no sample": (lambda rows: rows.assign(K=0), "column 'K' holds 0, and must be at least 1"),
    "no name": (lambda rows: rows.assign(run=np.nan), "column 'run'"),
    "two modes": (lambda rows: pd.concat([rows, rows.assign(mode="training", value=9.0)]), "two different readings"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=list(WRONG))
def test_what_is_wrong_with_a_table_is_a_line(table, tmp_path, change, words):
    odd = change(table)
    for ask in (
        plotted,
        lambda rows: reported(rows, tmp_path),
        lambda rows: snrkit.save_table(rows, tmp_path / "t.parquet"),
    ):
        with pytest.raises((SpecError, ResultsError), match=words):
            ask(odd)


def test_readings_in_two_precisions_are_both_kept_and_drawn(table, tmp_path):
    finer = table.assign(dtype="float64", value=table["value"] * 1.01)
    path = tmp_path / "both.parquet"
    for one in (table, finer, table):
        snrkit.save_table(one, path)
    kept = snrkit.load_table(path)
    assert kept["dtype"].value_counts().to_dict() == {"float32": len(table), "float64": len(table)}
    shown = reported(kept, tmp_path / "out")
    assert set(shown["line"]) == {"IWAE, dtype float32", "IWAE, dtype float64"}
    sheet = pd.read_csv(tmp_path / "out" / "gradients.csv")
    assert set(sheet["dtype"]) == {"float32", "float64"}


def test_two_models_do_not_become_one_line(table, tmp_path):
    path = snrkit.save_table(table, tmp_path / "kept.parquet")
    before = path.read_bytes()
    fewer = table[table["K"] < 64].assign(parameters="bbbb", value=9.0)
    words = (
        r"kept.parquet: has readings of several models under the name 'demo' at step 600 \(iwae\)"
        r".*give each a run of its own with run= or step="
    )
    with pytest.raises(ResultsError, match=words):
        snrkit.save_table(fewer, path)
    assert path.read_bytes() == before
    with pytest.raises(ResultsError, match="has readings of several models"):
        reported(pd.concat([table[table["K"] == 64], fewer]), tmp_path / "out")
    # Measured again as a whole, or under a name or step of its own, it is a model like any other.
    snrkit.save_table(fewer, path, run="other")
    snrkit.save_table(fewer, path, step=700)
    snrkit.save_table(table.assign(parameters="bbbb"), path)
    assert len(snrkit.load_table(path)) == len(table) + 2 * len(fewer)


def test_tables_of_models_that_nobody_named_are_called_by_their_place(table, tmp_path):
    own = [table.assign(run="python"), table.assign(run="python", parameters="bbbb", value=table["value"] * 2)]
    assert set(reported(own, tmp_path)["line"]) == {"IWAE, table-1", "IWAE, table-2"}
    alike = [own[0], own[0].assign(estimator="dreg")]
    assert set(reported(alike, tmp_path / "one")["line"]) == {"IWAE", "DReG"}
