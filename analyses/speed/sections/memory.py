"""Time and peak memory of single draws with very many importance samples."""

from typing import Any

from analyses.speed.sections import isolated


def run() -> tuple[str, list[dict[str, Any]]]:
    """One row per K."""
    rows = [{"K": K, **isolated.run(str(K))} for K in (1000, 10_000, 100_000, 1_000_000)]
    text = (
        "Seconds of one draw, each K in a process of its own (importing torch takes 0.23 GB of the peak). Draws that do\n"
        "not fit in one pass take two over their samples, exact for every estimator: values first, then the cotangents back."
    )
    return text, rows
