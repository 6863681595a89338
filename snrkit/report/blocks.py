"""Which blocks of parameters figures and tables tell of: both networks, or, of losses, which have none, their groups."""

from collections.abc import Sequence

import pandas as pd

from snrkit.report.escape import visible
from snrkit.runs.tidy import blocks_told

NETWORKS = {"inference": "inference network (φ)", "generative": "generative network (θ)"}
_ALL, _MOST_PANELS = "all parameters", 4
# What has networks or has none.
_OWNER = ["source", "run", "estimator", "options"]


def told(rows: pd.DataFrame, owner: Sequence[str] = _OWNER) -> pd.DataFrame:
    """The rows of the networks; of what has none, as losses, those of the blocks that ``tidy.blocks_told`` names.

    Args:
        rows: with ``block``.
        owner: columns that say whose a block is.
    """
    if rows.empty:
        return rows
    rows = rows.reset_index(drop=True)
    of_network = rows["block"].isin(NETWORKS)
    place = rows.groupby(list(owner), sort=False, dropna=False, observed=True).ngroup()
    others = rows[~of_network.groupby(place).transform("any")]
    named = pd.Series(False, rows.index)
    for _, own in others.groupby(place, sort=False):
        named.loc[own.index] = own["block"].isin(blocks_told(own))
    return rows[of_network | named]


def in_panels(rows: pd.DataFrame) -> tuple[list[str], tuple[str, ...]]:
    """The blocks of rows, a panel each, and a line about groups of parameters for which there is no room."""
    found = [*NETWORKS, *(block for block in dict.fromkeys(rows["block"].astype(str)) if block not in NETWORKS)]
    present = [block for block in found if (rows["block"] == block).any()]
    if len(present) <= _MOST_PANELS:
        return present, ()
    whole = ["all"] if "all" in present else []
    first = [block for block in present if block != "all"][: _MOST_PANELS - len(whole)]
    groups = [block for block in first if block not in NETWORKS]
    drawn = f"{', '.join(map(visible, groups))} alone are" if groups else "none is"
    return [*first, *whole], (f"of the groups of parameters {drawn} drawn; choose rows to see others",)


def heading(block: str) -> str:
    """What a panel of a block is headed."""
    return NETWORKS.get(block, _ALL if block == "all" else visible(block))


def spoken(block: str) -> str:
    """What a block is called in a sentence."""
    return f"{block} network" if block in NETWORKS else visible(block)
