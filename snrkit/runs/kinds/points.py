"""What an evaluation has of single test points, one row each."""

from snrkit.runs.kinds.base import RUN, count, number, optional
from snrkit.runs.kinds.parquet import ParquetKind

POINTS = ParquetKind(
    name="points",
    pattern="*.points.parquet",
    columns={
        "point": count("number of the test point"),
        "iwae_64": optional(number("64-sample bound, nats")),
        "log_p": optional(number("bound of all samples as estimate of log p(x), nats")),
        "kl_q_p": optional(number("log_p - iwae_64, nats")),
        "elbo": optional(number("mean of log w, nats")),
        "ess_64": number("effective sample size of 64 samples, mean over groups", 0.0),
        "ess": optional(number("effective sample size of all samples", 0.0)),
        "ssim": optional(number("structural similarity of the reconstruction with the input")),
        "kl": optional(number("KL(q(z|x), p(z)) of a sentence in closed form, nats")),
        "reconstruction": optional(number("E_q log p(x|z) of a sentence, nats")),
        "words": optional(count("words of a sentence and its end, which perplexity is per", 1)),
        "run": optional(RUN["run"]),
        "step": RUN["step"],
        "data": RUN["data"],
        "samples": optional(count("importance samples behind log_p", 1)),
        "seed": optional(count("root seed of the noise")),
    },
    remedy="run 'snrkit evaluate --keep-points --ckpt CHECKPOINT' again",
    key=("step", "data", "point"),
    of_run=("config.toml",),
)
