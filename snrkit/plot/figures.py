"""One function per figure of a measurement, and one for any figure of the report."""

from collections.abc import Mapping

import pandas as pd

from snrkit.errors import SnrkitError, SpecError
from snrkit.plot.panels import Panels
from snrkit.plot.tidy import tidied
from snrkit.report import style
from snrkit.report.collect import Tables
from snrkit.report.drawing import Missing
from snrkit.report.figures import FIGURES
from snrkit.report.style import look_of
from snrkit.runs.kinds import KINDS

WIDTH = "a4"


def snr_vs_k(table: pd.DataFrame, slopes: pd.DataFrame | None = None, *, column: str = WIDTH) -> Panels:
    """SNR of the gradient against the number K of importance samples, a panel per network.

    Args:
        table: the tidy table of ``snrkit.measure``, or ``.table`` of what a run measured.
        slopes: ``.slopes`` of what a run measured, for slopes in the legend.
        column: page that the figure is as wide as: ``icml``, ``neurips``, ``a4``, ``slide``, or a width such as ``3.3in``.

    Raises:
        SpecError: the table lacks what the figure needs, or there is no such page.
    """
    return figure("snr_vs_k", _tables(table, slopes), column=column)


def snr_vs_m(table: pd.DataFrame, slopes: pd.DataFrame | None = None, *, column: str = WIDTH) -> Panels:
    """SNR of the gradient against the number M of outer samples; arguments and errors as for ``snr_vs_k``."""
    return figure("snr_vs_m", _tables(table, slopes), column=column)


def dsnr_vs_k(table: pd.DataFrame, *, column: str = WIDTH) -> Panels:
    """Directional SNR against K, of a table with the metric ``dsnr``; arguments and errors as for ``snr_vs_k``."""
    return figure("dsnr_vs_k", _tables(table), column=column)


def dsnr_vs_m(table: pd.DataFrame, *, column: str = WIDTH) -> Panels:
    """Directional SNR against M, of a table with the metric ``dsnr``; arguments and errors as for ``snr_vs_k``."""
    return figure("dsnr_vs_m", _tables(table), column=column)


def bias_variance(table: pd.DataFrame, *, column: str = WIDTH) -> Panels:
    """Squared bias, variance and mean squared error against K; arguments and errors as for ``snr_vs_k``."""
    return figure("bias_variance", _tables(table), column=column)


def noise_parts(table: pd.DataFrame, *, column: str = WIDTH) -> Panels:
    """Noise of a random minibatch, from data and from samples, against K; arguments and errors as for ``snr_vs_k``."""
    return figure("noise_parts", _tables(table), column=column)


def snr_training(table: pd.DataFrame, *, column: str = WIDTH) -> Panels:
    """SNR along training, of a table with several ``step``; arguments and errors as for ``snr_vs_k``."""
    return figure("snr_training", _tables(table), column=column)


def figure(name: str, tables: Mapping[str, pd.DataFrame], *, column: str = WIDTH) -> Panels:
    """Any figure of the report.

    Args:
        name: of the figure, as ``snrkit report --figure`` has it.
        tables: kind of result to its frame, such as ``{"snr": found.table, "draws": found.kept}``; which a figure needs its
            error says, and ``python -m snrkit.runs.kinds`` lists them all.
        column: page that the figure is as wide as: ``icml``, ``neurips``, ``a4``, ``slide``, or a width such as ``3.3in``.

    Raises:
        SpecError: there is no such figure, kind or page, or the tables lack what the figure needs.
    """
    for kind in tables:
        KINDS.require(kind)
    FIGURES.require(name)
    drawn = FIGURES.load(name)
    look = look_of(column)
    frames = {kind: tidied(frame) if kind == "snr" else frame for kind, frame in tables.items()}
    try:
        with style.context(look):
            found = drawn.draw(Tables({}, frames), look)
    except SnrkitError:
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # whatever a table of the user's own holds
        needs = ", ".join(drawn.needs)
        problem = f"'{name}' cannot be drawn of them ({error.__class__.__name__}: {error!s:.80})"
        raise SpecError("tables", problem, f"give whole tables of {needs}, as '{drawn.command}' makes them") from error
    if isinstance(found, Missing):
        reason, _, command = found.reason.partition(": run '")
        remedy = f"'{command.partition(chr(39))[0] or drawn.command}' measures it"
        raise SpecError("table", f"has nothing for '{name}': {reason}", remedy)
    return Panels(found, look)


def _tables(table: pd.DataFrame, slopes: pd.DataFrame | None = None) -> dict[str, pd.DataFrame]:
    return {"snr": table} if slopes is None else {"snr": table, "slopes": slopes}
