"""SNR of ciwae's gradient against its weight beta."""

from snrkit.runs.kinds.base import INTERVAL, RUN, SETTING, count, name, number, text
from snrkit.runs.kinds.text import CsvKind

BETA = CsvKind(
    name="beta",
    pattern="beta.csv",
    columns={
        "beta": number("weight of the ELBO in the objective"),
        "metric": name("what was measured"),
        "value": number("the reading"),
        **INTERVAL,
        "floor": number("what pure noise would read"),
        "draws": count("gradient draws R", 1),
        "n_coordinates": count("coordinates that entered the reading"),
        "n_dropped": count("coordinates left out because they are zero, or constant, but for rounding"),
        "definition": text("the definition of the metric"),
        "block": name("which parameters"),
        "M": SETTING["M"],
        "K": SETTING["K"],
        **RUN,
        "seed": count("root seed of the noise"),
    },
    remedy="run 'snrkit beta --ckpt CHECKPOINT' again",
    key=("run", "step", "data", "block", "M", "K", "seed", "beta", "metric"),
)
