"""Freeze what the commands give, or compare it with what was frozen: equal, not close.

    python tests/golden/freeze.py --write        # before a change, from the commit that is known to be right
    python tests/golden/freeze.py                # after it: lists every part that differs, and exits 1 if any does
    python tests/golden/freeze.py --only identities --only refused
    python tests/golden/freeze.py --accept advice.json/rows   # what was meant to change: rewrite those parts alone

Numbers are frozen for one machine: torch's last bits differ between processors and versions. On another machine than the one
named in ``frozen.json``, freeze there from the earlier commit first. ``--file`` says where. About three minutes on 2 cores.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT)]
os.environ.setdefault("OMP_NUM_THREADS", "1")


def machine() -> dict[str, str]:
    """What last bits depend on."""
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    return {"torch": torch.__version__, "cpu": capability, "python": platform.python_version()}


def call(words: str, **places: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command, called in this process."""
    from snrkit.cli.main import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    argv = []
    for word in shlex.split(words.format(**places)) if places else shlex.split(words):
        argv += sorted(str(path) for path in Path().glob(word)) if "*" in word else [word]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(argv)
        except SystemExit as ending:
            code = int(ending.code or 0)
    return code, out.getvalue(), err.getvalue()


def done(words: str, **places: object) -> str:
    """What a command prints that must succeed."""
    code, out, err = call(words, **places)
    if code:
        raise SystemExit(f"{words}: exit {code}\n{err}")
    return out


def files(folder: Path) -> dict[str, dict[str, str]]:
    """Digests of all results in a folder, by their path in it."""
    from tests.golden.content import of_file

    left_out = {"env.json", "status.json"}
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in left_out]
    # Pages and sidecars name the folders that they were made from; the frontier draws seconds.
    kept = [path for path in paths if not path.name.endswith((".lock", ".meta.json", ".html"))]
    return {
        str(path.relative_to(folder)): of_file(path)
        for path in kept
        if path.parts[-2:-1] != ("report",) or path.stem != "frontier"
    }


def results(tmp: Path) -> dict[str, object]:
    """Every training run, and what measures it."""
    from tests.golden.cases import MEASURED, SWEEP, training

    for name, words in training().items():
        done(f"train {words} --quiet --device cpu --out {tmp}/runs/{name}")
    (tmp / "grid.toml").write_text(SWEEP)
    for name, extra in (("sweep", ""), ("ensemble", "--ensemble 2")):
        done(f"sweep {tmp}/grid.toml {extra} --quiet --device cpu --out {tmp}/runs/{name}")
    for name, commands in MEASURED.items():
        for words in commands:
            command, rest = words.split(" ", 1)
            done(f"{command} --ckpt {tmp}/runs/{name} {rest} --quiet --device cpu".format(out=tmp / "runs" / name))
    done(f"report {tmp}/runs/mlp-iwae-joint {tmp}/runs/observed --html --quiet --out {tmp}/runs/report")
    return files(tmp / "runs")


def figures(tmp: Path) -> dict[str, object]:
    """The figures, tables and pages of the committed analyses, drawn again."""
    from tests.golden.cases import REPORTS

    for name, words in REPORTS.items():
        done(f"{words} --quiet --out {tmp}/{name}")
    return files(tmp)


def identities(_: Path) -> dict[str, object]:
    """What runs are called."""
    from tests.golden.cases import SWEEP, training

    found = {}
    for name, words in training().items():
        if "--snr" not in words:
            found[name] = identity(done(f"train {words} --print-config"))
    found["default"] = identity(done("train --print-config"))
    for path in [*sorted(Path("analyses").glob("*/*.toml")), None]:
        text = SWEEP if path is None else path.read_text()
        if "[grid]" in text:
            found[f"sweep {path}"] = sweep_names(text)
    return found


def identity(toml: str) -> str:
    """The identity of a spec in TOML."""
    try:
        from snrkit.specs.run import RunSpec
    except ImportError:
        from snrkit.config import RunSpec
    return RunSpec.from_toml(toml, "frozen").identity()


def sweep_names(text: str) -> list[str]:
    """Names of a sweep's run folders."""
    import tomllib

    try:
        from snrkit.specs.grid import expand, run_name
    except ImportError:
        from snrkit.training.grid import expand, run_name
    settings = tomllib.loads(text)
    settings.pop("measure", None)  # of runs, and no part of what they are
    return [run_name(spec) for spec in expand(settings, "frozen")]


def refused(tmp: Path) -> dict[str, object]:
    """Exit code and message of bad input."""
    from tests.golden.cases import BAD_FILES, DIGITS, ESTIMATORS, REFUSED

    for name, text in BAD_FILES.items():
        (tmp / name).write_text(text)
    (tmp / "empty").mkdir()
    done(f"train {DIGITS} {ESTIMATORS['iwae']} --epochs 0 --quiet --device cpu --out {tmp}/run")
    found = {}
    for words in REFUSED:
        code, out, err = call(words, run=tmp / "run", tmp=tmp / "empty" if words.endswith("{tmp}") else tmp)
        found[words] = [code, out, err.replace(str(tmp), "TMP").replace(str(ROOT), "ROOT")]
    return found


PARTS = {"identities": identities, "refused": refused, "results": results, "figures": figures}


def gather(only: list[str]) -> dict[str, object]:
    """All that is asked for, made anew."""
    import torch

    torch.set_num_threads(1)
    os.chdir(ROOT)
    found = {}
    for part in only or PARTS:
        with tempfile.TemporaryDirectory(prefix="golden-") as folder:
            found[part] = PARTS[part](Path(folder))
    return found


def differences(old: object, new: object, where: str = "") -> list[str]:
    """Every part that is not as it was; what is new beside it (a later column, another file) is named as such."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = [f"gone: {where}/{key}" for key in old if key not in new]
        found += [f"new: {where}/{key}" for key in new if key not in old]
        for key in old:
            if key in new:
                found += differences(old[key], new[key], f"{where}/{key}")
        return found
    return [] if old == new else [f"differs: {where}: {old!r} -> {new!r}"]


def accept(frozen: dict[str, object], found: dict[str, object], lines: list[str]) -> None:
    """Put what was found in the place of what was frozen, for the parts that these lines tell of."""
    for part in found:
        _accept(frozen, found, part, part, lines)


def _accept(old: Any, new: Any, key: str, where: str, lines: list[str]) -> None:
    own = [line for line in lines if line.split(": ", 1)[1].split(": ")[0] == where]
    if own and key in new:
        old[key] = new[key]
    elif own:
        del old[key]
    elif isinstance(old.get(key), dict):
        for below in [*old[key], *(other for other in new[key] if other not in old[key])]:
            _accept(old[key], new[key], below, f"{where}/{below}", lines)


def main() -> None:
    """See the head of the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", action="append", choices=list(PARTS), default=[])
    parser.add_argument("--file", type=Path, default=HERE / "frozen.json")
    parser.add_argument(
        "--accept", action="append", default=[], metavar="TEXT", help="rewrite what differs in a line with it"
    )
    args = parser.parse_args()
    found = gather(args.only)
    if args.write:
        kept = json.loads(args.file.read_text()) if args.file.exists() else {}
        kept |= {"machine": machine()} | found
        args.file.write_text(json.dumps(kept, indent=0, sort_keys=True) + "\n")
        return
    frozen = json.loads(args.file.read_text())
    if frozen["machine"] != machine():
        print(f"note: frozen on {frozen['machine']}, this is {machine()}: last bits may differ")
    odd = [line for part in found for line in differences(frozen[part], found[part], part)]
    print("\n".join(odd) or "equal")
    if args.accept:
        accept(frozen, found, [line for line in odd if any(text in line for text in args.accept)])
        args.file.write_text(json.dumps(frozen, indent=0, sort_keys=True) + "\n")
    sys.exit(any(not line.startswith("new:") for line in odd))


if __name__ == "__main__":
    main()
