"""The evaluation of all runs as one table: CSV, Markdown and LaTeX (booktabs)."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from snrkit.report.collect import Collected, Evaluation, Run, Score
from snrkit.report.drawing import Missing, Sheet
from snrkit.report.style import estimator_label

# Metric -> (heading, heading in LaTeX), in the order of the columns; others follow under their own names.
HEADINGS = {
    "iwae_64": ("IWAE-64", "IWAE-64"),
    "log_p": ("log p̂(x)", r"$\log \hat p(x)$"),
    "kl_q_p": ("KL(Q‖P)", r"$\mathrm{KL}(Q \Vert P)$"),
    "elbo": ("ELBO", "ELBO"),
    "ess_64": ("ESS of 64", "ESS of 64"),
    "ess": ("ESS", "ESS"),
    "active_units": ("active units", "active units"),
}

_LATEX_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One run of the table."""

    run: str
    trained: str
    evaluation: Evaluation

    def score(self, metric: str) -> Score | None:
        """The run's score in a metric, if it has one."""
        return next((score for score in self.evaluation.scores if score.metric == metric), None)


def rounded(value: float, error: float) -> tuple[str, str]:
    """A value and its error, rounded by the error.

    The error keeps two significant digits where they begin with 1 or 2 and one otherwise; the value ends at the same
    decimal. Without a usable error the value has four significant digits and the error is empty.
    """
    if not math.isfinite(value):
        return "", ""
    if not math.isfinite(error) or error <= 0:
        return f"{value:.4g}", "0" if error == 0 else ""
    leading = f"{error:.1e}"
    digits = 2 if leading[0] in "12" else 1
    decimals = digits - 1 - int(leading.split("e")[1])
    shown = max(decimals, 0)
    return f"{round(value, decimals):.{shown}f}", f"{round(error, decimals):.{shown}f}"


def evaluation_table(collected: Collected) -> Sheet | Missing:
    """Runs against metrics, value ± standard error."""
    rows = [_row(run, run.evaluation) for run in collected.runs if run.evaluation]
    if not rows:
        return Missing("no evaluation.json found: run 'snrkit evaluate --ckpt CHECKPOINT'")
    present = dict.fromkeys(score.metric for row in rows for score in row.evaluation.scores)
    metrics = [metric for metric in HEADINGS if metric in present] + [m for m in present if m not in HEADINGS]
    notes = _notes(rows, metrics)
    texts = {"csv": _csv(rows, metrics), "md": _markdown(rows, metrics, notes), "tex": _latex(rows, metrics, notes)}
    files = [run.files for run in collected.runs if run.evaluation]
    inputs = [path for each in files for path in (each.evaluation, each.config) if path.exists()]
    return Sheet(texts, " ".join(f"{note}." for note in notes), tuple(inputs))


def _row(run: Run, evaluation: Evaluation) -> Row:
    trained = ""
    if run.spec:
        chosen = run.spec.estimator
        options = ", ".join(f"{key}={value:g}" for key, value in chosen.options.items())
        trained = f"{estimator_label(chosen.name, options)}, M = {chosen.M}, K = {chosen.K}"
    return Row(run.files.name, trained, evaluation)


def _notes(rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    """What the numbers mean and where they were taken, a phrase each."""
    notes = ["Value ± standard error over data points"]
    for metric in metrics:
        phrases = dict.fromkeys(score.definition for row in rows if (score := row.score(metric)))
        notes.append(f"{_heading(metric)}: {'; or '.join(phrases)}")
    for row in rows:
        found = row.evaluation
        notes.append(f"{row.run}: {found.data}, {found.points} points, {found.samples} samples, step {found.step}")
    return notes


def _heading(metric: str) -> str:
    return HEADINGS[metric][0] if metric in HEADINGS else metric


def _csv(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = [name for metric in metrics for name in (metric, f"{metric}_stderr")]
    writer.writerow(["run", "trained_with", "step", "data", "points", "samples", *names])
    for row in rows:
        found = row.evaluation
        cells = [cell for metric in metrics for cell in _numbers(row.score(metric))]
        writer.writerow([row.run, row.trained, found.step, found.data, found.points, found.samples, *cells])
    return stream.getvalue()


def _numbers(score: Score | None) -> tuple[str, str]:
    return rounded(score.value, score.stderr) if score else ("", "")


def _markdown(rows: Sequence[Row], metrics: Sequence[str], notes: Sequence[str]) -> str:
    lines = [
        ["run", "trained with", *map(_heading, metrics)],
        ["---", "---", *("---:" for _ in metrics)],
        *([row.run, row.trained or "–", *(_cell(row.score(metric)) for metric in metrics)] for row in rows),
    ]
    table = ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines]
    return "\n".join([*table, "", *(f"- {note}" for note in notes)]) + "\n"


def _cell(score: Score | None) -> str:
    value, error = _numbers(score)
    if not value:
        return "–"
    return f"{value} ± {error}" if error else value


def _latex(rows: Sequence[Row], metrics: Sequence[str], notes: Sequence[str]) -> str:
    headings = [HEADINGS[metric][1] if metric in HEADINGS else _escape(metric) for metric in metrics]
    body = [
        [_escape(row.run), _escape(row.trained) or "--", *(_latex_cell(row.score(metric)) for metric in metrics)]
        for row in rows
    ]
    lines = [
        "% Needs \\usepackage{booktabs}.",
        *(f"% {note}" for note in notes),
        rf"\begin{{tabular}}{{ll{'r' * len(metrics)}}}",
        r"\toprule",
        " & ".join(["run", "trained with", *headings]) + r" \\",
        r"\midrule",
        *(" & ".join(cells) + r" \\" for cells in body),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _latex_cell(score: Score | None) -> str:
    value, error = _numbers(score)
    if not value:
        return "--"
    return rf"${value} \pm {error}$" if error else f"${value}$"


def _escape(text: str) -> str:
    return "".join(_LATEX_SPECIAL.get(letter, letter) for letter in text)
