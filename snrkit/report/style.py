"""How everything looks: page formats, one row per estimator, line styles for runs, one set of rc parameters."""

import colorsys
import contextlib
import hashlib
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
from matplotlib.colors import to_hex, to_rgb

from snrkit.report.escape import mathtext, visible
from snrkit.report.width import inches

GREY = "#808080"
DARK_GREY = "#555555"

# Both fonts come with matplotlib, so that every machine draws the same; the second fills in what the first lacks.
_SERIF = ("STIXGeneral", "DejaVu Sans")
_SANS = ("DejaVu Sans",)


@dataclass(frozen=True)
class Look:
    """Sizes of a figure for a kind of page.

    Attributes:
        name: of the format.
        column: width of a column, inches.
        font: size of the text, points.
        family: fonts, the first that has a letter serves it.
        line: width of a data line, points.
        dpi: of the PNG.
    """

    name: str
    column: float
    font: float
    family: tuple[str, ...]
    line: float
    dpi: int

    @property
    def em(self) -> float:
        """The size of the text in inches, the unit of all other lengths."""
        return self.font / 72

    @property
    def letters_per_em(self) -> float:
        """About how many letters of running text are as wide as the text is high."""
        return 2.1 if self.family == _SERIF else 1.75

    def letters(self, inches: float) -> int:
        """About how many letters fit into a width."""
        return int(inches / self.em * self.letters_per_em)


# Column widths of the style files (ICML: 3.25 in; NeurIPS: 5.5 in), the text of an A4 page with 25 mm margins, and a
# 16:9 slide of 13.3 in.
COLUMNS = {
    "icml": Look("icml", 3.25, 8.0, _SERIF, 1.1, 300),
    "neurips": Look("neurips", 5.5, 9.0, _SERIF, 1.2, 300),
    "a4": Look("a4", 6.3, 9.0, _SANS, 1.3, 300),
    "slide": Look("slide", 11.5, 17.0, _SANS, 2.6, 160),
}
DEFAULT_COLUMN = "icml"
# Widths from which text is set as on a wider page.
_ONE_COLUMN, _PAPER = 4.5, 9.0
MOST_LINES = 10
MOST_LETTERS = 400

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
    "ovis-tilde": ("#8C510A", "*", "OVIS~"),
    "ovis-mc": ("#BF812D", "^", "OVIS-MC"),
    "rloo": ("#01665E", "o", "RLOO"),
    "wake-sleep": ("#543005", "s", "wake-sleep"),
    "jvi": ("#117733", "H", "JVI"),
    "tvo": ("#AA4499", "8", "TVO"),
    "u-statistic": ("#006D4E", "<", "U-statistic"),
    "gdreg": ("#5A5A1E", "X", "GDReG"),
    "vae-annealed": ("#1F4E79", "^", "VAE, KL weighted"),
    "vae-analytic": ("#3B6FB6", "s", "VAE, KL exact"),
}
# For an estimator of another package, by its name: colours of one lightness, which reads on white.
_OTHER_MARKERS = "osD^v<>phdPX8*H"
_OTHER_LIGHTNESS, _OTHER_SATURATION = 0.35, 0.65

Dashes = tuple[float, tuple[float, ...]]
SOLID: Dashes = (0, ())
RUN_DASHES: tuple[Dashes, ...] = (
    (0, ()),
    (0, (3.5, 1.8)),
    (0, (1, 1.2)),
    (0, (6, 1.5, 1, 1.5)),
    (0, (3, 1.2, 1, 1.2, 1, 1.2)),
    (0, (9, 3)),
)
FLOOR_DASHES: Dashes = (0, (4, 2.5))

# Opaque steps from dark to light of one hue order, for numbers of samples (perceptually even, and readable in grey).
SEQUENCE = "viridis"
SEQUENCE_END = 0.88


def look_of(column: str) -> Look:
    """The look of a page, or for a width that of the page that comes nearest in kind: a column, a text block, a slide.

    Args:
        column: see ``width.inches``.

    Raises:
        SpecError: it is neither a page nor a width that a figure can have.
    """
    width = inches(column)
    if width is None:
        return COLUMNS[column]
    near = COLUMNS["icml" if width < _ONE_COLUMN else "neurips" if width < _PAPER else "slide"]
    return replace(near, name=column.strip(), column=width)


def rc(look: Look) -> dict[Any, Any]:
    """The rc parameters of a look."""
    # Any: releases of matplotlib differ in the type of the keys.
    small, thin = 0.9 * look.font, 0.55 * look.line
    return {
        "font.family": list(look.family),
        "mathtext.fontset": "stix" if look.family == _SERIF else "dejavusans",
        "font.size": look.font,
        "axes.labelsize": look.font,
        "axes.titlesize": look.font,
        "axes.titlepad": 0.5 * look.font,
        "axes.labelpad": 0.3 * look.font,
        "xtick.labelsize": small,
        "ytick.labelsize": small,
        "legend.fontsize": small,
        "legend.title_fontsize": small,
        "legend.frameon": False,
        "legend.handlelength": 2.6,
        "legend.columnspacing": 1.4,
        "legend.labelspacing": 0.35,
        "legend.borderaxespad": 0.2,
        "axes.linewidth": thin,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.linewidth": look.line,
        "lines.markersize": 0.5 * look.font,
        "lines.markeredgewidth": 0.8 * look.line,
        "xtick.major.width": thin,
        "ytick.major.width": thin,
        "xtick.minor.width": 0.6 * thin,
        "ytick.minor.width": 0.6 * thin,
        "xtick.major.size": 0.4 * look.font,
        "ytick.major.size": 0.4 * look.font,
        "xtick.minor.size": 0.22 * look.font,
        "ytick.minor.size": 0.22 * look.font,
        "figure.constrained_layout.h_pad": 0.25 * look.em,
        "figure.constrained_layout.w_pad": 0.25 * look.em,
        "pdf.fonttype": 42,
        "svg.fonttype": "path",
        "svg.hashsalt": "snrkit",
    }


@dataclass(frozen=True)
class LineStyle:
    """How one line is drawn."""

    colour: str
    marker: str
    dashes: Dashes


@contextlib.contextmanager
def context(look: Look = COLUMNS[DEFAULT_COLUMN]) -> Iterator[None]:
    """The rc parameters of a look within the block, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(rc(look))
        yield


def estimator_style(name: str) -> tuple[str, str, str]:
    """Colour, marker and label of an estimator: those of the table, else a function of its name alone."""
    if name in ESTIMATORS:
        return ESTIMATORS[name]
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    colour = to_hex(colorsys.hls_to_rgb(digest[0] / 256, _OTHER_LIGHTNESS, _OTHER_SATURATION))
    return colour, _OTHER_MARKERS[digest[1] % len(_OTHER_MARKERS)], name


def estimator_label(name: str, options: str = "") -> str:
    """What a legend calls an estimator."""
    label = estimator_style(name)[2]
    return f"{label} ({options.replace('beta', 'β').replace('=', ' = ')})" if options else label


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
        colour, marker, _ = estimator_style(estimator)
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
    """Text of a legend in lines of at most ``width`` characters, with no character taken for mathematics.

    Of a text that would fill the page the beginning is shown.
    """
    shown = visible(text) if len(text) <= MOST_LETTERS else f"{visible(text[: MOST_LETTERS - 1])}…"
    lines = "\n".join(mathtext(line) for line in textwrap.wrap(shown, max(width, 1)))
    # A legend leaves out what begins with an underscore.
    return f"\N{ZERO WIDTH SPACE}{lines}" if lines.startswith("_") else lines


def shades(count: int) -> list[str]:
    """Colours of an ordered series, dark to light."""
    steps = [SEQUENCE_END * i / max(count - 1, 1) for i in range(count)]
    return [to_hex(mpl.colormaps[SEQUENCE](step)) for step in steps]
