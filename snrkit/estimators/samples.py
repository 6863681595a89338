"""Numbers of samples that estimators work with."""

from collections.abc import Sequence

from snrkit.errors import SpecError
from snrkit.estimators.base import Estimator, require_samples

# How far beyond twice a K another is looked for.
_FURTHER = 1000


def nearest_samples(wanted: Sequence[int], estimators: Sequence[Estimator]) -> tuple[int, ...]:
    """Numbers of samples, each raised to the next one with which every estimator works."""
    found = dict.fromkeys(next((n for n in range(K, 2 * K + _FURTHER) if _all_work(estimators, n)), K) for K in wanted)
    return tuple(found)


def _all_work(estimators: Sequence[Estimator], K: int) -> bool:
    try:
        require_samples(estimators, K)
    except SpecError:
        return False
    return True
