"""Gradient draws whose truth is known, and their moments."""

import numpy as np

from snrkit.diagnostics.moments import BlockMoments, Moments


def moments_of(draws, G=20):
    """Draws of single points ``[R, n, P]`` to moments in G blocks of draws, with one tensor."""
    return Moments([_block(part) for part in np.array_split(draws, G)])


def _block(part):
    means, variances = part.mean(0), part.var(0, ddof=1)
    mean = means.mean(0)
    points = np.stack([(means**2).sum(1), means @ mean, variances.sum(1)], axis=1)[:, None]
    return BlockMoments(len(part), mean, variances.sum(0) / len(means) ** 2, points)


def within(values, truth, errors=4.0):
    """Whether the mean over replications equals the truth within so many of its standard errors."""
    values = np.asarray(values)
    return abs(values.mean() - truth) < errors * values.std(ddof=1) / np.sqrt(len(values))


def row(table, metric, block, **wanted):
    """The one row of a table with these labels."""
    for column, value in ({"metric": metric, "block": block} | wanted).items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]
