"""What a result says, apart from how its file is laid out and how long it took: one digest for every named part of it."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch

# What differs from one run of the same command to the next; advice recommends the cheapest of equals, by the clock, which
# also chooses kernels.
TIMES = {"seconds", "checksum", "images_per_second", "seconds_per_step", "recommendations", "kernels"}


def digest(content: bytes | str) -> str:
    """The first 16 hex digits of the SHA-256."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:16]


def of_file(path: Path) -> dict[str, str]:
    """Digests of the parts of a file; its parts are columns, keys or tensors."""
    reader = {".pt": of_tensors, ".parquet": of_parquet, ".csv": of_csv, ".json": of_json, ".jsonl": of_lines}
    if path.suffix in reader:
        return reader[path.suffix](path)
    return {"bytes": digest(path.read_bytes())}


def of_tensors(path: Path) -> dict[str, str]:
    """Of a checkpoint: one for every tensor, one for every plain value."""
    found: dict[str, str] = {}

    def walk(name, value):
        if isinstance(value, torch.Tensor):
            array = value.detach().cpu().contiguous()
            kind = f"{array.dtype} {tuple(array.shape)} "
            found[name] = digest(kind.encode() + array.flatten().view(torch.uint8).numpy().tobytes())
        elif isinstance(value, dict):
            for key in value:
                if str(key) not in TIMES:
                    walk(f"{name}/{key}", value[key])
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                walk(f"{name}/{index}", item)
        else:
            found[name] = digest(repr(value))

    walk("", torch.load(path, weights_only=True))
    return found


def of_frame(table: pd.DataFrame) -> dict[str, str]:
    """Of a table: one for every column, its rows in their order."""

    def column(name):
        values = table[name].to_numpy()
        if values.dtype.kind == "f":
            return digest(np.ascontiguousarray(np.where(np.isnan(values), np.nan, values)).tobytes())
        return digest(repr([str(value) for value in values]))

    return {"rows": str(len(table))} | {name: column(name) for name in table.columns if name not in TIMES}


def of_parquet(path: Path) -> dict[str, str]:
    """Of a Parquet file."""
    return of_frame(pd.read_parquet(path))


def of_csv(path: Path) -> dict[str, str]:
    """Of a CSV file, every cell as the text that it is."""
    return of_frame(pd.read_csv(io.StringIO(path.read_text()), dtype=str, keep_default_na=False))


def timeless(value):
    """A JSON value without times."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in TIMES}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def of_json(path: Path) -> dict[str, str]:
    """Of a JSON object: one for every key; of its rows one for every column."""
    found = {}
    for key, value in timeless(json.loads(path.read_text())).items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for name in value[0]:
                found[f"{key}/{name}"] = digest(json.dumps([row.get(name) for row in value]))
        else:
            found[key] = digest(json.dumps(value, sort_keys=True))
    return found


def of_lines(path: Path) -> dict[str, str]:
    """Of JSON lines, without times."""
    rows = [timeless(json.loads(line)) for line in path.read_text().splitlines()]
    names = sorted({name for row in rows for name in row})
    return {name: digest(json.dumps([row.get(name) for row in rows])) for name in names}
