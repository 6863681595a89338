"""Ways to compute gradient draws, by name. All give the same moments from the same noise."""

from snrkit.registry import Registry

ENGINES = Registry(
    "engine",
    {
        "factors": "snrkit.diagnostics.engines.factors:FactorEngine",
        "vmap": "snrkit.diagnostics.engines.vmap:VmapEngine",
        "loop": "snrkit.diagnostics.engines.loop:LoopEngine",
    },
    group="snrkit.engines",
)
