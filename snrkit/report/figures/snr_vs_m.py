"""SNR of the gradient against the number M of outer samples, by network."""

from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.figures import snr_vs_k
from snrkit.report.rates import Rate, draw_rate
from snrkit.report.style import Look

COMMAND = "snrkit snr --ckpt CHECKPOINT --K 1 --M 1,10,100,1000"
RATE = Rate("snr_mean", "M", "floor: pure noise", True, COMMAND)


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """SNR against M, at the K where most M were measured."""
    return draw_rate(tables, look, RATE)


figure = FigureKind(
    title="Signal-to-noise ratio against M",
    section="gradients",
    needs=("snr", "slopes"),
    command=COMMAND,
    definition=(
        f"{snr_vs_k.figure.definition} Unless drawn directly (--direct), M follows from unit draws by algebra: means stay, "
        "variances divide by M, and the floor rises as √M, since a mean then rests on R/M effective draws."
    ),
    uncertainty=snr_vs_k.figure.uncertainty,
    draw=draw,
)
