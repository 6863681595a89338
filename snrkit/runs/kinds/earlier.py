"""What results of schema 1 say in words alone, which later have a column. Nothing else reads it out of words."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_LENT = "mean from "


def drawn_as(table: "pd.DataFrame") -> dict[str, Any]:
    """How draws were made, from the column ``method``: ``units, nested, mean from dreg`` and the like."""
    parts = [str(method).split(", ") for method in table["method"]]
    lent = [[part.removeprefix(_LENT) for part in own if part.startswith(_LENT)] for own in parts]
    return {
        "direct": [own[0] == "direct" for own in parts],
        "nested": ["nested" in own for own in parts],
        "mean_from": ["".join(own) for own in lent],
        "separate": False,
        "mode": ["training" if "training mode" in own else "evaluation" for own in parts],
    }


def data_of(label: str) -> dict[str, str]:
    """The parts of a label of data such as ``npz faces.npz 3fa1b2c4d5:test[0:300] none seed 0``."""
    title, _, rest = label.partition(":")
    part, _, binarised = rest.partition(" ")
    return {"data_name": title.partition(" ")[0], "data_title": title, "part": part, "binarised": binarised}
