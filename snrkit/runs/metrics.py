"""What the metrics of the SNR table are: names, definitions, titles, and how they go with M. Imports no torch.

A metric is one line here and one file that reads it from the draws (see ``snrkit.diagnostics.metrics.base``), which must
import without torch, since reports ask for titles.
"""

from dataclasses import dataclass

from snrkit.registry import Registry

_HERE = "snrkit.diagnostics.metrics"
# Each points at the family that reads it; families follow one another in the tables as they do here.
METRICS = Registry(
    "metric",
    {
        "snr_mean": f"{_HERE}.strength:FAMILY",
        "snr_q25": f"{_HERE}.strength:FAMILY",
        "snr_median": f"{_HERE}.strength:FAMILY",
        "snr_q75": f"{_HERE}.strength:FAMILY",
        "snr_pooled": f"{_HERE}.strength:FAMILY",
        "snr_pooled_squared": f"{_HERE}.strength:FAMILY",
        "variance": f"{_HERE}.strength:FAMILY",
        "mean_norm": f"{_HERE}.strength:FAMILY",
        "noise_scale": f"{_HERE}.strength:FAMILY",
        "bias_squared": f"{_HERE}.bias:FAMILY",
        "bias_norm": f"{_HERE}.bias:FAMILY",
        "bias_relative": f"{_HERE}.bias:FAMILY",
        "bias_cosine": f"{_HERE}.bias:FAMILY",
        "data_variance": f"{_HERE}.parts:FAMILY",
        "monte_carlo_variance": f"{_HERE}.parts:FAMILY",
        "critical_M": f"{_HERE}.parts:FAMILY",
        "ess": f"{_HERE}.weights:FAMILY",
        "largest_weight": f"{_HERE}.weights:FAMILY",
        "dsnr": f"{_HERE}.dsnr:FAMILY",
        "dsnr_in_sample": f"{_HERE}.dsnr:FAMILY",
    },
    group="snrkit.metrics",
    what=f"{_HERE}.base:Family",
)


@dataclass(frozen=True)
class Metric:
    """What a metric is.

    Attributes:
        definition: what a value of it says.
        title: its heading in tables for people.
        power: of the number of independent units averaged that carries a reading of one unit to one of their average.
        of_mean: whether it rests on the mean gradient, which another estimator may lend.
        shown: whether the tables for people have it, or the result file alone.
    """

    definition: str
    title: str
    power: float = 0.0
    of_mean: bool = False
    shown: bool = False


def describe(name: str) -> Metric:
    """The metric of that name.

    Raises:
        SpecError: there is none.
    """
    found: Metric = METRICS.load(name).metrics[name]
    return found
