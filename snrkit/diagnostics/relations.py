"""Inner products of block means.

With block means m_j of an estimator and t_j of a target, products of different blocks are free of Monte Carlo noise in the
mean: E<m_j, t_k> = <E m, E t> for j != k, whether or not both were drawn from the same noise. So every squared norm made of
them is unbiased, and can come out negative.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from snrkit.types import Array

if TYPE_CHECKING:  # it loads torch
    from snrkit.diagnostics.moments import Moments


def across(products: Array) -> float:
    """Mean of the products of different blocks: ``[g, g]`` to a scalar; NaN where there is one block only."""
    g = products.shape[0]
    return math.nan if g < 2 else float((products.sum() - np.trace(products)) / (g * (g - 1)))


def block_means(moments: "Moments", block: slice) -> Array:
    """Block means of a block of coordinates, ``[G, p]``."""
    return moments.means(block).cpu().numpy()
