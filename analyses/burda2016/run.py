"""Burda et al. 2016: likelihoods and active units with one and two stochastic layers, 2-D latents, sampling from q_IW.

    python analyses/burda2016/run.py [--settings FILE.toml] [--out FOLDER] [SECTION ...]

Trains what is missing, evaluates it, and writes results/SCALE/SECTION.csv and .md and RESULTS.md, SCALE being the name of
the settings file. Finished runs are not trained again; interrupted ones go on.
"""

import argparse
import sys
import tomllib
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.tables import markdown
from sections import latents, likelihoods, reconstructions
from sections.runs import Runs

from snrkit.backend.device import select_device
from snrkit.training.opening import environment

HERE = Path(__file__).parent
SECTIONS = {"likelihoods": likelihoods.run, "latents": latents.run, "reconstructions": reconstructions.run}


def main() -> None:
    """Run the sections named on the command line and rewrite RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; default: all")
    parser.add_argument("--settings", type=Path, default=Path("analyses/burda2016/cpu.toml"))
    parser.add_argument("--out", type=Path, default=HERE, help="where results/ and RESULTS.md go")
    parser.add_argument("--runs", type=Path, default=Path("checkpoints"), help="where the runs go")
    given = parser.parse_args()
    if unknown := set(given.sections) - set(SECTIONS):
        parser.error(f"no section {unknown.pop()}; choose from {', '.join(SECTIONS)}")
    settings = tomllib.loads(given.settings.read_text())
    scale = given.settings.stem
    results = given.out / "results" / scale
    results.mkdir(parents=True, exist_ok=True)
    for name in given.sections or SECTIONS:
        command = f"python analyses/burda2016/run.py --settings {given.settings} {name}"
        runs = Runs(settings, given.runs / f"burda2016-{scale}")
        text, tables = SECTIONS[name](settings, runs, results)
        parts = [text]
        for suffix, table in tables.items():
            table.to_csv(results / f"{name}{suffix}.csv", index=False)
            parts.append(markdown(table))
        (results / f"{name}.md").write_text("\n\n".join([*parts, _origin(command, runs)]) + "\n")
    _collect(given.out)


def _origin(command: str, runs: Runs) -> str:
    where = environment(select_device("auto"))
    return (
        f"`{command}`: {runs.seconds / 60:.0f} min of training and evaluation in {runs.count} runs, {where['device_name']}, "
        f"{torch.get_num_threads()} threads, commit {where['cwd_commit'][:10]}"
    )


def _collect(out: Path) -> None:
    """RESULTS.md from the sections that there are, scale by scale."""
    parts = [(HERE / "INTRO.md").read_text()]
    for folder in sorted(path for path in (out / "results").iterdir() if path.is_dir()):
        texts = [(folder / f"{name}.md").read_text() for name in SECTIONS if (folder / f"{name}.md").exists()]
        parts += [f"## Scale: {folder.name}\n", *texts]
    (out / "RESULTS.md").write_text("\n".join(parts))


if __name__ == "__main__":
    main()
