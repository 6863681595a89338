"""DSNR of the gradient against the number M of outer samples, by network."""

from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.figures import dsnr_vs_k
from snrkit.report.rates import Rate, draw_rate
from snrkit.report.style import Look

COMMAND = "snrkit snr --ckpt CHECKPOINT --K 1 --M 1,10,100 --dsnr"
RATE = Rate("dsnr", "M", "random direction", False, COMMAND)


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """DSNR against M, at the K where most M were measured."""
    return draw_rate(tables, look, RATE)


figure = FigureKind(
    title="Directional signal-to-noise ratio against M",
    section="gradients",
    needs=("snr",),
    command=COMMAND,
    definition=dsnr_vs_k.figure.definition,
    uncertainty=dsnr_vs_k.figure.uncertainty,
    draw=draw,
)
