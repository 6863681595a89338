"""Tables with more columns than their kind has, and the specifications of their runs, for other programs and for reports.

Such a file is read as any of its kind, further columns left aside; who is alike is told by the specifications.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from snrkit.errors import SpecError
from snrkit.files import parse_json, write_bytes
from snrkit.runs.kinds.parquet import ParquetKind, sealed
from snrkit.specs.run import RunSpec

if TYPE_CHECKING:
    import pandas as pd

_RUNS = b"snrkit_runs"


def write(path: Path, table: "pd.DataFrame", kind: ParquetKind | None, specs: Mapping[str, RunSpec]) -> None:
    """Write a table as Parquet, whole or not at all.

    Args:
        path: the file.
        table: its rows.
        kind: as which it can be read; None: as a table of any program.
        specs: name of a run to what it was trained with.

    Raises:
        OutputError: it cannot be written.
    """
    import pandas as pd
    import pyarrow as pa

    arrow = pa.Table.from_pandas(pd.DataFrame(table), preserve_index=False)
    runs = json.dumps({run: spec.model_dump(mode="json", exclude_none=True) for run, spec in specs.items()})
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), _RUNS: runs})
    write_bytes(path, sealed(kind.signed(arrow) if kind else arrow))


def specs_in(path: Path) -> dict[str, RunSpec]:
    """The specifications that a table bears, by name of the run; none of a file that is no such table.

    Raises:
        SpecError: one is not valid.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        kept = (pq.read_schema(path).metadata or {}).get(_RUNS, b"{}")
        runs = parse_json(kept.decode())
    except (OSError, ValueError, pa.ArrowException):
        return {}
    if not isinstance(runs, dict) or not all(isinstance(spec, dict) for spec in runs.values()):
        raise SpecError(str(path), "has no specifications where it should", "collect it again")
    return {run: RunSpec.parse(spec, str(path)) for run, spec in runs.items()}
