"""``snrkit list``: what is registered, with what each is, read off the registries."""

import dataclasses
import inspect
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import click

from snrkit.cli.output import print_json, tell

# Words for what an estimator needs, by the fields of ``core.objective.Needs``.
_NEEDS = {
    "separate_networks": "no parameter in both networks",
    "own_inference": "no parameter of q in p too",
    "prior": "log p(z)",
    "kl": "KL(q, p(z)) in closed form",
    "sleep": "dreams",
    "regenerated": "a prior with parameters",
}

# What is listed: a row per name.
Row = dict[str, str]
# Headings, where a column's own name is none.
_HEADINGS = {
    "unbiased_for": "the mean is the gradient of", "unbiased": "unbiased φ, θ", "least_K": "K ≥", "snr_phi": "SNR φ",
    "snr_theta": "SNR θ", "source": "rates from",
}  # fmt: skip


def estimators() -> list[Row]:
    """Every estimator, as it is with the options that it has to be given at half of their range, and the others left out."""
    from snrkit.estimators import ESTIMATORS
    from snrkit.estimators.base import needed_options

    rows = []
    for name in ESTIMATORS.names:
        kind = ESTIMATORS.load(name)
        own = kind(**dict.fromkeys(needed_options(kind), 0.5))
        theory = own.theory
        options = [field.name for field in dataclasses.fields(kind)]
        rows.append(
            {
                "estimator": name,
                "options": ", ".join(options),
                "gradient": _first_sentence(kind),
                "unbiased_for": theory.unbiased_for,
                "unbiased": ", ".join("yes" if exact else "no" for exact in own.unbiased),
                "z": "continuous" if own.needs.reparameterised else "any",
                "needs": "; ".join(text for part, text in _NEEDS.items() if getattr(own.needs, part)),
                "least_K": str(own.few_samples[0]),
                "snr_phi": rate(*theory.phi),
                "snr_theta": rate(*theory.theta),
                "source": theory.source,
            }
        )
    return rows


def models() -> list[Row]:
    """Every model with its options and their defaults."""
    from snrkit.cli.settings import options_of
    from snrkit.models import MODELS

    rows = []
    for name in MODELS.names:
        kind = options_of(name)
        fields = kind.model_fields.items() if kind else ()
        options = [f"{option}={field.get_default(call_default_factory=True)}" for option, field in fields]
        module = sys.modules[MODELS.load(name).__module__]
        rows.append({"model": name, "what": _first_sentence(module), "options": ", ".join(options)})
    return rows


def data() -> list[Row]:
    """Every source of data; ``snrkit data list`` says which are there."""
    from snrkit.data import SOURCES

    sources = [SOURCES.load(name) for name in SOURCES.names]
    return [{"data": source.name, "kind": source.kind, "what": source.description} for source in sources]


def metrics() -> list[Row]:
    """Every metric of gradients with its definition."""
    from snrkit.runs.metrics import METRICS, describe

    return [{"metric": name, "definition": describe(name).definition} for name in METRICS.names]


_LISTS: dict[str, Callable[[], list[Row]]] = {
    "estimators": estimators, "models": models, "data": data, "metrics": metrics,
}  # fmt: skip


def rate(m: float, k: float) -> str:
    """``M^m K^k``, with powers of a half as people write them."""
    known = {(0.5, 0.5): "(MK)^½", (0.5, -0.5): "(M/K)^½", (0.5, 0.0): "M^½", (0.0, 0.0): "1"}
    if (m, k) in known:
        return known[m, k]
    return " ".join(f"{letter}^{_power(power)}" for letter, power in (("M", m), ("K", k)) if power)


def _power(power: float) -> str:
    if power == 0.5:
        return "½"
    halves = f"{2 * power:g}"
    return f"({halves}/2)" if (2 * power).is_integer() and not power.is_integer() else f"({power:g})"


def _first_sentence(of: Any) -> str:
    """The first paragraph of a docstring, without its full stop."""
    return " ".join((inspect.getdoc(of) or "").split("\n\n")[0].split()).removesuffix(".").replace("``", "")


def as_markdown(rows: list[Row]) -> str:
    """A table of GitHub's Markdown, names in code."""
    from snrkit.report.escape import markdown

    head = list(rows[0])
    first = head[0]
    lines = [f"| {' | '.join(_HEADINGS.get(column, column) for column in head)} |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [f"`{row[column]}`" if column == first else markdown(row[column] or "") for column in head]
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    return "\n".join(lines)


@click.command(name="list")
@click.argument("what", type=click.Choice(list(_LISTS)))
@click.option("--markdown", is_flag=True, help="A table of Markdown.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout instead of a table.")
def command(what: str, markdown: bool, as_json: bool) -> None:
    """What there is: estimators, models, data or metrics, those of installed packages among them.

    Of estimators: what the gradient is in each network and of which bound it is the gradient in the mean, what it needs of a
    model, the smallest K, and how the SNR goes with M and K in theory.
    """
    rows = _LISTS[what]()
    if as_json:
        print_json({what: rows})
    elif markdown:
        tell(as_markdown(rows))
    else:
        for row in rows:
            (_, name), *others = row.items()
            parts = [f"{_HEADINGS.get(column, column)}: {value}" for column, value in others if value]
            wrapped = (textwrap.fill(part, 110, initial_indent="    ", subsequent_indent="        ") for part in parts)
            tell("\n".join([name, *wrapped]))
