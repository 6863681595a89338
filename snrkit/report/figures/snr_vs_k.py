"""SNR of the gradient against the number K of importance samples, by network."""

from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.rates import Rate, draw_rate
from snrkit.report.style import Look

COMMAND = "snrkit snr --ckpt CHECKPOINT --K 1,10,100,1000"
RATE = Rate("snr_mean", "K", "floor: pure noise", True, COMMAND)


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """SNR against K, at each line's smallest M."""
    return draw_rate(tables, look, RATE)


figure = FigureKind(
    title="Signal-to-noise ratio against K",
    section="gradients",
    needs=("snr", "slopes"),
    command=COMMAND,
    definition=(
        "SNR: |E[Δ]| / sd[Δ] of each coordinate of the gradient estimate Δ over draws of the noise at fixed data and "
        "parameters, averaged over the coordinates of a network. Floor: what as many draws of pure noise read, √(2/(πR))."
    ),
    uncertainty="Bands: 95 % intervals of the reading expected at these draws, from half-samples of blocks of draws.",
    draw=draw,
)
