"""Every kind of result that a run folder may hold: one file and one line each."""

from snrkit.registry import Registry

# The first pattern that a file's name matches decides; that of a mere ending is tried last.
KINDS = Registry(
    "kind of result",
    {
        "draws": "snrkit.runs.kinds.draws:DRAWS",
        "points": "snrkit.runs.kinds.points:POINTS",
        "reconstructions": "snrkit.runs.kinds.reconstructions:RECONSTRUCTIONS",
        "samples": "snrkit.runs.kinds.samples:SAMPLES",
        "interpolations": "snrkit.runs.kinds.interpolations:INTERPOLATIONS",
        "canvases": "snrkit.runs.kinds.canvases:CANVASES",
        "latents": "snrkit.runs.kinds.latents:LATENTS",
        "snr": "snrkit.runs.kinds.snr:SNR",
        "slopes": "snrkit.runs.kinds.slopes:SLOPES",
        "comparisons": "snrkit.runs.kinds.comparisons:COMPARISONS",
        "metrics": "snrkit.runs.kinds.metrics:METRICS",
        "evaluations": "snrkit.runs.kinds.evaluation:EVALUATION",
        "advice": "snrkit.runs.kinds.advice:ADVICE",
        "beta": "snrkit.runs.kinds.beta:BETA",
        "published": "snrkit.runs.kinds.published:PUBLISHED",
    },
    group="snrkit.kinds",
    what="snrkit.runs.kinds.base:Kind",
)
