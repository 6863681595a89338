"""What RESULTS.md says of the tables."""

from typing import Any

import pandas as pd

from analyses.common.tables import markdown

NAMES = {
    ("shared", "pathwise"): "reparameterised, one weight draw per minibatch",
    ("own", "pathwise"): "reparameterised, local",
    ("shared", "score"): "score function, one weight draw per minibatch",
    ("own", "score"): "score function, local",
}
BLOCKS = {"all": "trace over all coordinates", "bias": "coordinate output.bias_mean[0]"}


MODEL = """\
The model: is a digit odd? All 1,797 images of the embedded digits (64 pixels), {hidden} tanh units, one logit, a normal
distribution over every weight and bias, taken after {steps} Adam steps on the lower bound; {size:,} parameters (means and
log scales). L_i is the gradient of log p(y_i|x_i, w); the KL part is analytic and its gradient constant. Points are drawn
with replacement. Numbers are of the *mean* over the minibatch (times N^2: of the sum). All variances come from
`snrkit.measure` with direct draws of whole minibatches. Var[L_i] and Cov[L_i, L_j] come from other draws than the variances
at M: Var from single points; Cov, where points share noise, as the variance of the gradient over *all* points (given the
shared noise two points are independent); where they share none it is 0. The check "from pairs" is 2 Var(M = 2) - Var(M = 1),
which needs no such argument and is less precise. Settings: `cpu.toml`."""


def of_tables(settings: dict[str, Any], size: int, table: pd.DataFrame, parts: pd.DataFrame) -> str:
    """Everything on the page below its introduction; ``size``: of parameters."""
    sections = [MODEL.format(hidden=settings["hidden"], steps=settings["train_steps"], size=size)]
    sections += ["![variance](results/variance.png)", _verdict(table), _parts(parts), _missing_factor(table, parts)]
    for block, title in BLOCKS.items():
        sections += [f"## Variance against M: {title}", markdown(_by_m(table[table.block == block]))]
    return "\n\n".join(sections)


def _verdict(table: pd.DataFrame) -> str:
    relative = pd.concat([table.stderr / table.measured, table.formula_stderr / table.formula])
    worst = table.loc[table.z.abs().idxmax()]
    return (
        f"**{len(table)} comparisons over M = {table.M.min()} to {table.M.max()}: the largest distance is "
        f"{abs(worst.z):.1f} standard errors (bar: 4); the largest standard error is {100 * relative.max():.2f} % (bar: "
        f"1.5 %), {100 * (table.stderr / table.measured).max():.2f} % among the measured variances.**"
    )


def _parts(parts: pd.DataFrame) -> str:
    rows = [
        (
            NAMES[row.weights, row.estimator], BLOCKS[row.block], _value(row["var"], row.var_stderr),
            _value(row["cov"], row.cov_stderr) if row["cov"] else "0", _value(row.pair_cov, row.pair_cov_stderr),
            f"{row['cov'] / row['var']:.3g}",
        )
        for _, row in parts.iterrows()
    ]  # fmt: skip
    columns = ["estimator", "of", "Var[L_i]", "Cov[L_i, L_j]", "Cov from pairs", "Cov/Var"]
    return "## Var and Cov\n\n" + markdown(pd.DataFrame(rows, columns=columns))


def _missing_factor(table: pd.DataFrame, parts: pd.DataFrame) -> str:
    last = table.query("weights == 'shared' and block == 'all' and M == M.max()")
    lines = []
    for _, row in last.iterrows():
        known = parts.query("weights == 'shared' and block == 'all' and estimator == @row.estimator").iloc[0]
        literal = known["var"] / row.M + (row.M - 1) / (2 * row.M) * known["cov"]
        lines.append(
            f"{row.estimator}: measured / literal middle expression = {row.measured / literal:.2f} at M = {row.M}"
        )
    return (
        "## The fault in the source\n\nThe slide's middle expression, (N^2/M^2) (sum_i Var + sum_i sum_(j>i) Cov), "
        "counts each pair of points once where the variance of a sum counts it twice; taken literally it halves the floor. "
        "Its last expression is right. " + "; ".join(lines) + "."
    )


def _by_m(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (weights, estimator), name in NAMES.items():
        for _, row in table[(table.weights == weights) & (table.estimator == estimator)].iterrows():
            measured, formula = _value(row.measured, row.stderr), _value(row.formula, row.formula_stderr)
            rows.append((name, row.M, f"{row.draws:,}", measured, formula, f"{row.z:+.1f}"))
    return pd.DataFrame(rows, columns=["estimator", "M", "draws", "measured", "formula", "z"])


def _value(value: float, stderr: float) -> str:
    return f"{value:.4g} ± {stderr:.1g}"
