"""Types that many modules share: arrays by what they hold, and calls. Imports no torch."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]
# What is told how far something is: (done, total, note).
Progress = Callable[[float, float, str], None]
