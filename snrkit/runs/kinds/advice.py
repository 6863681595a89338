"""What ``snrkit advise`` measured of every way to spend a budget, and which it recommends."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snrkit.runs.kinds.base import RUN, SETTING, count, name, number, optional, since, text
from snrkit.runs.kinds.record import JsonKind

if TYPE_CHECKING:
    import pandas as pd

_GOALS = {"inference": "the inference network", "generative": "the generative network"}


@dataclass(frozen=True)
class AdviceKind(JsonKind):
    """The one kind with a second list: ``recommendations``, each with ``goal``, ``network``, ``row``, ``reason``."""

    def frame(self, record: Any, path: Path) -> "pd.DataFrame":
        """See ``JsonKind.frame``; with all recommendations in ``reasons``, and who was advised to take a row.

        ``best_for`` names the goals that a row is recommended for; ``advised_inference`` and ``advised_generative`` are
        whether it is for that network, alone or with the other.
        """
        table = super().frame(record, path)
        try:
            answers = [_answer(answer, record) for answer in record["recommendations"]]
        except (KeyError, TypeError) as error:
            raise self.error(path, f"{error.__class__.__name__}: {error!s:.80}") from None
        rows = range(len(table))
        goals = [[answer["goal"] for answer in answers if answer["row"] == row] for row in rows]
        networks = [{answer["network"] for answer in answers if answer["row"] == row} for row in rows]
        advised = {f"advised_{network}": [bool(own & {network, "both"}) for own in networks] for network in _GOALS}
        reasons: Any = [answers for _ in rows]
        return table.assign(best_for=["; ".join(own) for own in goals], reasons=reasons, **advised)


def _answer(answer: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """A recommendation; one of schema 1 names its row and network in words."""
    own = {key: str(answer[key]) for key in ("goal", "setting", "reason")}
    if record.get("schema", 1) > 1:
        return own | {"network": answer["network"], "row": answer["row"]}
    titles = [f"{row['estimator']} M={row['M']} K={row['K']}" for row in record["table"]]
    row = titles.index(own["setting"]) if own["setting"] in titles else None
    return own | {"network": own["goal"].partition(" ")[0], "row": row}


def _later(table: "pd.DataFrame") -> dict[str, Any]:
    """An estimator and its options, which schema 1 has in one text: ``ciwae (beta=0.5)``."""
    parts = [str(title).partition(" (") for title in table["estimator"]]
    return {"name": [own for own, _, _ in parts], "options": [options.removesuffix(")") for _, _, options in parts]}


ADVICE = AdviceKind(
    name="advice",
    pattern="*advice*.json",
    columns={
        "estimator": name("name and options, as shown"),
        "M": SETTING["M"],
        "K": SETTING["K"],
        **{
            column: described
            for network, title in _GOALS.items()
            for column, described in (
                (f"snr_{network}", number(f"snr_pooled of {title}")),
                (f"snr_{network}_stderr", number("its standard error", 0.0)),
            )
        },
        "seconds_per_step": number("median wall time of a training step", 0.0),
        "bound_gap": number("by how much the estimator's own bound is loose, nats"),
        **RUN,
        "budget": count("samples per data point, T = M K", 1),
        "draws": count("gradient draws R per setting", 1),
        "seed": optional(count("root seed of the noise")),
        "name": since(2, SETTING["estimator"]),
        "options": since(2, text("the estimator's own hyperparameters")),
        "same": optional(text("settings with the same gradients and bound, which have no row of their own")),
    },
    remedy="ask again with 'snrkit advise'",
    version=2,
    later=_later,
    noun="an advice",
    rows="table",
    shared=(*RUN, "budget", "draws", "seed"),
)
