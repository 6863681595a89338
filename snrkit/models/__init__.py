"""Latent-variable models, by name. A model is one file here and one line in this table."""

from snrkit.registry import Registry

MODELS = Registry(
    "model",
    {
        "conv": "snrkit.models.conv:build",
        "draw": "snrkit.models.attentive:build",
        "flow": "snrkit.models.flow:build",
        "gaussian": "snrkit.models.gaussian:build",
        "hierarchical": "snrkit.models.hierarchical:build",
        "mlp": "snrkit.models.mlp:build",
        "sentence": "snrkit.models.sentence:build",
        "random-weights": "snrkit.models.random_weights:build",
        "sbn": "snrkit.models.sbn:build",
    },
    group="snrkit.models",
    what="collections.abc:Callable",
)
