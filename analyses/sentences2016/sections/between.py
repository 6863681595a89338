"""What lies between two test sentences, decoded greedily."""

import pandas as pd
import torch

from analyses.common.report import Place
from analyses.sentences2016.sections.runs import first_seed, opened
from snrkit.core.streams import Streams
from snrkit.evaluation.points import chosen_points
from snrkit.evaluation.samples import interpolate


def run(place: Place) -> tuple[str, pd.DataFrame]:
    """One row per run, pair and place on the line."""
    settings, seed = place.settings, first_seed(place)
    numbers, steps = settings["between"]["points"], settings["between"]["steps"]
    parts, distinct = [], []
    for name in settings["runs"]:
        own = opened(place, name, seed)
        x, _ = chosen_points(own.dataset, own.spec, torch.device("cpu"), numbers)
        found = interpolate(own.model, x, len(numbers) // 2, steps, Streams(seed), points=numbers)
        parts.append(found.assign(run=name)[["run", "pair", "t", "kind", "text"]].sort_values(["pair", "t", "kind"]))
        distinct.append(f"{name} {found[found.kind == 'greedy']['text'].nunique()}")
    total = steps * (len(numbers) // 2)
    text = (
        f"## Between two sentences\n\nGreedy sentences at z = (1 - t) z_1 + t z_2, z_1 and z_2 the means of q for test "
        f"sentences (`input`), seed {seed}. Distinct ones among the {total} of a run: {', '.join(distinct)}."
    )
    return text, pd.concat(parts, ignore_index=True)
