"""How everything looks: one row per estimator, line styles for runs, one set of rc parameters."""

import contextlib
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.colors import to_hex, to_rgb

TEXT_WIDTH_IN = 6.75
GREY = "#808080"
DARK_GREY = "#555555"
LEGEND_WRAP = 44

# Estimator -> (colour, marker, label). Okabe-Ito (without its yellow, too pale on white) and, from "rws" on, Tol's muted
# set: colours that readers with any common colour blindness tell apart; the marker differs too.
ESTIMATORS: dict[str, tuple[str, str, str]] = {
    "vae": ("#0072B2", "o", "VAE"),
    "iwae": ("#D55E00", "s", "IWAE"),
    "miwae": ("#009E73", "^", "MIWAE"),
    "ciwae": ("#E69F00", "D", "CIWAE"),
    "piwae": ("#CC79A7", "v", "PIWAE"),
    "stl": ("#56B4E9", "P", "STL"),
    "dreg": ("#000000", "X", "DReG"),
    "rws": ("#882255", "<", "RWS"),
    "rws-dreg": ("#999933", ">", "RWS-DReG"),
    "vr-iwae": ("#332288", "p", "VR-IWAE"),
    "reinforce": ("#44AA99", "h", "REINFORCE"),
    "vimco": ("#CC6677", "d", "VIMCO"),
    "ovis": ("#8C510A", "*", "OVIS"),
    "jvi": ("#117733", "H", "JVI"),
    "tvo": ("#AA4499", "8", "TVO"),
}
UNKNOWN = ("#4D4D4D", "o")

Dashes = tuple[float, tuple[float, ...]]
RUN_DASHES: tuple[Dashes, ...] = (
    (0, ()),
    (0, (3.5, 1.8)),
    (0, (1, 1.2)),
    (0, (6, 1.5, 1, 1.5)),
    (0, (3, 1.2, 1, 1.2, 1, 1.2)),
    (0, (9, 3)),
)
FLOOR_DASHES: Dashes = (0, (4, 2.5))

# Any: releases of matplotlib differ in the type of the keys.
_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.title_fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 3.4,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.minor.size": 1.8,
    "ytick.minor.size": 1.8,
    "pdf.fonttype": 42,
    "svg.hashsalt": "snrkit",
}


@dataclass(frozen=True)
class LineStyle:
    """How one line is drawn."""

    colour: str
    marker: str
    dashes: Dashes


@contextlib.contextmanager
def context() -> Iterator[None]:
    """The rc parameters of the reports within the block, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def estimator_label(name: str, options: str = "") -> str:
    """What a legend calls an estimator."""
    label = ESTIMATORS[name][2] if name in ESTIMATORS else name
    return f"{label} ({options})" if options else label


def assign(lines: Sequence[tuple[str, str]]) -> list[LineStyle]:
    """A style for each line, none twice.

    The estimator decides colour and marker, the run the dashes; runs without a common estimator may share dashes. Where
    both agree (one estimator with two settings of its options, or more runs than there are dashes) the later line is
    paler.

    Args:
        lines: (estimator, run) of each line.
    """
    dashes_of = _dashes_of(lines)
    seen: Counter[tuple[str, Dashes]] = Counter()
    styles = []
    for estimator, run in lines:
        colour, marker = ESTIMATORS[estimator][:2] if estimator in ESTIMATORS else UNKNOWN
        dashes = RUN_DASHES[dashes_of[run] % len(RUN_DASHES)]
        styles.append(LineStyle(_paler(colour, seen[colour, dashes]), marker, dashes))
        seen[colour, dashes] += 1
    return styles


def _dashes_of(lines: Sequence[tuple[str, str]]) -> dict[str, int]:
    """For each run the first number that no earlier run with an estimator in common has."""
    estimators: dict[str, set[str]] = {}
    for estimator, run in lines:
        estimators.setdefault(run, set()).add(estimator)
    chosen: dict[str, int] = {}
    for run, names in estimators.items():
        taken = {number for other, number in chosen.items() if names & estimators[other]}
        chosen[run] = min(set(range(len(taken) + 1)) - taken)
    return chosen


def _paler(colour: str, times: int) -> str:
    keep = 0.6**times
    red, green, blue = (1 - keep * (1 - part) for part in to_rgb(colour))
    return to_hex((red, green, blue))


def wrapped(text: str, width: int) -> str:
    """Text of a legend in lines of at most ``width`` characters, with no character taken for mathematics."""
    return textwrap.fill(text, width).replace("$", r"\$")


def legend_columns(labels: Sequence[str]) -> int:
    """How many legend columns fit into the text width."""
    longest = max(len(line) for label in labels for line in label.split("\n"))
    # Half a font size per character, and the handle with its gaps.
    inches = (longest * 0.55 + 6) * 7.5 / 72
    return max(1, min(3, len(labels), int(TEXT_WIDTH_IN / inches)))
