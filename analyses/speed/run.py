"""How fast the diagnostics are, against the obvious ways and against the hardware.

    make speed                                 all sections, on CUDA where there is one
    python analyses/speed/run.py engines       one section

All contenders of a section run in one process, interleaved, float32 (no TF32), with freed memory kept
(snrkit.backend.memory), which helps the peers as well. Rounds in which other processes took more than a tenth of the
machine's time are repeated, up to ten, and counted. Each section writes results/DEVICE/SECTION.json; RESULTS.md is made of
all that are there.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from sections import agreement, choice, engines, ensembles, grid, growth, memory, training
from sections.reference import device_name

from snrkit.backend.memory import keep_freed_memory

HERE = Path(__file__).parent
SECTIONS = {
    "engines": engines.run,
    "choice": choice.run,
    "grid": grid.run,
    "memory": memory.run,
    "growth": growth.run,
    "training": training.run,
    "ensembles": ensembles.run,
    "agreement": agreement.run,
}


def main() -> None:
    """Run the sections named on the command line and rewrite RESULTS.md."""
    keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = False
    name = device_name()
    folder = HERE / "results" / name
    folder.mkdir(parents=True, exist_ok=True)
    for section in sys.argv[1:] or SECTIONS:
        print(f"{section} ...", flush=True)
        start = time.perf_counter()
        text, rows = SECTIONS[section]()
        result = {
            "device": name, "threads": torch.get_num_threads(), "torch": torch.__version__, "dtype": "float32",
            "seconds": time.perf_counter() - start, "text": text, "rows": rows,
        }  # fmt: skip
        (folder / f"{section}.json").write_text(json.dumps(result, indent=2) + "\n")
        print(_section(section, result), flush=True)
    devices = sorted(path for path in (HERE / "results").iterdir() if path.is_dir())
    (HERE / "RESULTS.md").write_text((HERE / "INTRO.md").read_text() + "\n" + "\n".join(map(_device, devices)))


def _device(folder: Path) -> str:
    found = {name: folder / f"{name}.json" for name in SECTIONS}
    parts = [_section(name, json.loads(path.read_text())) for name, path in found.items() if path.exists()]
    return f"## {folder.name}\n\n" + "\n".join(parts)


def _section(name: str, result: dict[str, Any]) -> str:
    made = (
        f"`python analyses/speed/run.py {name}`: {result['seconds']:.0f} s, {result['device']}, "
        f"{result['threads']} threads, torch {result['torch']}, {result['dtype']}"
    )
    return f"### {name}\n\n{result['text']}\n\n{_markdown(result['rows'])}\n\n{made}\n"


def _markdown(rows: list[dict[str, Any]]) -> str:
    cells = [
        [f"{v:.3g}" if isinstance(v, float) else f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()]
        for row in rows
    ]
    table = [list(rows[0]), ["---"] * len(rows[0]), *cells]
    return "\n".join("| " + " | ".join(row) + " |" for row in table)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main()
