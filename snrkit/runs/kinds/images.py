"""What kinds of result with images share."""

from typing import TYPE_CHECKING

from snrkit.runs.kinds.base import Columns, count, numbers, optional, text

if TYPE_CHECKING:
    import pandas as pd

SIZE: Columns = {"height": count("of the image, pixels", 1), "width": count("of the image, pixels", 1)}
# Of what is an image in one model and a sentence in another.
SHOWN: Columns = {
    "pixels": optional(numbers("of images: pixels or their means, row by row")),
    "text": optional(text("of sentences: the words")),
    "z": optional(numbers("the latent variable; empty of a data point")),
}
OF_IMAGES: Columns = {name: optional(column) for name, column in SIZE.items()}


def whole_pixels(table: "pd.DataFrame") -> str:
    """What is wrong with images that are to be as many finite numbers each as their height and width say, if anything."""
    import numpy as np

    problem = "'pixels' are not height x width finite numbers each"
    try:
        pixels = [np.asarray(image, dtype=float) for image in table["pixels"]]
    except (TypeError, ValueError):
        return problem
    sizes = table["height"] * table["width"]
    sound = all(i.shape == (size,) and np.isfinite(i).all() for i, size in zip(pixels, sizes, strict=True))
    return "" if sound else problem


def whole_shown(table: "pd.DataFrame") -> str:
    """What is wrong with a table of images or of sentences, if anything."""
    if "text" in table:
        return ""
    missing = [name for name in ("pixels", *SIZE) if name not in table]
    return f"columns missing: {', '.join(missing)}" if missing else whole_pixels(table)
