"""The toy of Rainforth et al. 2018: closed forms, slopes, published levels and coverage.

    python analyses/toy/run.py              all sections, then RESULTS.md
    python analyses/toy/run.py slopes       one section, then RESULTS.md
    python analyses/toy/run.py figures      draws for the figures: resumable, half an hour

Each section writes its numbers to analyses/toy/results/SECTION.csv and its text to SECTION.md.
"""

import sys
import time
import tomllib
from pathlib import Path

import pandas as pd
import torch
from sections import advise, closed_forms, coverage, figures, published, slope_in_m, slopes

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SECTIONS = {
    "closed_forms": closed_forms.run,
    "slopes": slopes.run,
    "slope_in_m": slope_in_m.run,
    "published": published.run,
    "coverage": coverage.run,
    "advise": advise.run,
    "figures": figures.run,
}


def main() -> None:
    """Run the sections named on the command line and rewrite RESULTS.md."""
    settings = tomllib.loads((HERE / "toy.toml").read_text())
    RESULTS.mkdir(exist_ok=True)
    for name in sys.argv[1:] or SECTIONS:
        print(f"{name} ...", flush=True)
        start = time.perf_counter()
        text, table = SECTIONS[name](settings)
        seconds = time.perf_counter() - start
        table.to_csv(RESULTS / f"{name}.csv", index=False)
        command = f"`python analyses/toy/run.py {name}`: {seconds:.0f} s, {torch.get_num_threads()} threads"
        (RESULTS / f"{name}.md").write_text(f"{text}\n\n{markdown(table)}\n\n{command}\n")
        print((RESULTS / f"{name}.md").read_text(), flush=True)
    parts = [(RESULTS / f"{name}.md").read_text() for name in SECTIONS if (RESULTS / f"{name}.md").exists()]
    (HERE / "RESULTS.md").write_text((HERE / "INTRO.md").read_text() + "\n" + "\n".join(parts))


def markdown(table: pd.DataFrame) -> str:
    """A table as Markdown, numbers to four significant digits."""
    cells = table.map(lambda v: f"{v:.4g}" if isinstance(v, float) else str(v))
    rows = [list(table.columns), ["---"] * table.shape[1], *cells.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


if __name__ == "__main__":
    main()
