"""DSNR of the gradient against the number K of importance samples, by network."""

from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.rates import Rate, draw_rate
from snrkit.report.style import Look

COMMAND = "snrkit snr --ckpt CHECKPOINT --K 1,10,100,1000 --dsnr"
RATE = Rate("dsnr", "K", "random direction", False, COMMAND)


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """DSNR against K, at each line's smallest M."""
    return draw_rate(tables, look, RATE)


figure = FigureKind(
    title="Directional signal-to-noise ratio against K",
    section="gradients",
    needs=("snr",),
    command=COMMAND,
    definition=(
        "DSNR: E[‖Δ∥‖ / ‖Δ⊥‖], the part of the gradient estimate along u = E[Δ]/‖E[Δ]‖ over the part across it; u "
        "comes from "
        "other blocks of draws than those projected on it. Floor: isotropic normal noise in as many dimensions."
    ),
    uncertainty="Bands: 95 % intervals, jackknife over blocks of draws with u refitted each time.",
    draw=draw,
)
