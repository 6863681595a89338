"""An unfinished run in a form small enough to be committed, from which it can be trained further.

Parameters are kept as they are, Adam's moments are rounded to bfloat16 (8 binary digits), so a run that goes on from there
is not, bit for bit, the run that was not stopped. Its checkpoints and metrics say so.
"""

import io
import pickle
import zlib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snrkit import checksums
from snrkit.errors import CapabilityError, CheckpointError
from snrkit.files import read_bytes, write_bytes
from snrkit.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from snrkit.runs.folder import RunDir

FORMAT, VERSION = "snrkit-state", 1
_MOMENTS = ("exp_avg", "exp_avg_sq")
_TEXTS = ("config", "metrics", "env")
# Bytes of a text, unpacked: far more than any run's.
_MOST_TEXT = 2**28
_REMEDY = "go back to a copy, or pack the run again"


def pack(run: RunDir, file: Path) -> Checkpoint:
    """Write a run's state, whole or not at all: checkpoint, metrics, settings and where it was computed.

    Args:
        run: a run in float32 with its optimiser's state, at which no process is at work.
        file: where to.

    Returns:
        What it goes on from there.

    Raises:
        CheckpointError, ResultsError: the run's files are damaged, or it is an exported copy.
        CapabilityError: its parameters are not float32.
        OutputError: the file cannot be written.
    """
    checkpoint = load_checkpoint(run.checkpoint)
    if checkpoint.run_spec().dtype != "float32":
        raise CapabilityError(str(run.path), "is not of float32, which is what is kept", "keep its run.pt as it is")
    if not checkpoint.optimiser:
        remedy = "pack the run that it was exported from"
        raise CheckpointError(str(run.path), "is an exported copy without the optimiser's state", remedy)
    run.read_metrics()  # they are sound, or this says so
    rounded = [*checkpoint.rounded, checkpoint.step]
    kept = replace(checkpoint, optimiser=_moments_in(checkpoint.optimiser, torch.bfloat16), rounded=rounded)
    content = {own.name: getattr(kept, own.name) for own in fields(Checkpoint)}
    texts = {name: _deflated(getattr(run, name)) for name in _TEXTS if getattr(run, name).exists()}
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "version": VERSION, "checkpoint": content, "texts": texts}, buffer)
    write_bytes(file, checksums.seal_zip(buffer.getvalue()))
    return kept


def unpack(file: Path, run: RunDir) -> Checkpoint:
    """Write a run directory from what ``pack`` wrote; nothing in the file is executed.

    Args:
        file: the file.
        run: where to; there must be no run yet.

    Returns:
        What the run goes on from.

    Raises:
        CheckpointError: the file is missing, damaged, not plain tensors, or of a newer format; or there is a run already.
        OutputError: the directory cannot be written.
    """
    if run.checkpoint.exists():
        raise CheckpointError(str(run.path), "holds a run already", "unpack to another folder")
    content = _read(file)
    version = content.get("version") if isinstance(content, dict) and content.get("format") == FORMAT else None
    if version != VERSION:
        problem = "no state of a run" if not isinstance(version, int) else f"format {version} is not {VERSION}"
        raise CheckpointError(str(file), problem, "give a file that was packed with this version of snrkit")
    try:
        texts = {name: _inflated(content["texts"][name]) for name in _TEXTS if name in content["texts"]}
        packed = Checkpoint(**content["checkpoint"])
        checkpoint = replace(packed, optimiser=_moments_in(packed.optimiser, torch.float32))
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError, zlib.error) as error:
        raise CheckpointError(str(file), f"damaged or incomplete ({type(error).__name__})", _REMEDY) from None
    for name, text in texts.items():
        write_bytes(getattr(run, name), text)
    save_checkpoint(run.checkpoint, checkpoint)
    run.set_status("interrupted", "unpacked")
    return load_checkpoint(run.checkpoint)


def _read(file: Path) -> Any:
    try:
        content = read_bytes(file)
        if not checksums.verify(content):
            raise checksums.ChecksumError
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except checksums.ChecksumError:
        problem = "damaged: it is not what was written (its checksum differs or is missing)"
        raise CheckpointError(str(file), problem, _REMEDY) from None
    except pickle.UnpicklingError:
        problem = "damaged, or holds more than plain tensors; it was not opened"
        raise CheckpointError(str(file), problem, _REMEDY) from None
    except Exception as error:
        # Whatever torch makes of arbitrary bytes.
        problem = f"missing, damaged or no state of a run ({type(error).__name__})"
        raise CheckpointError(str(file), problem, _REMEDY) from None


def _moments_in(optimiser: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Adam's state with its moments in another type, and all else as it is."""
    state = {
        index: {name: value.to(dtype) if name in _MOMENTS else value for name, value in own.items()}
        for index, own in optimiser["state"].items()
    }
    return optimiser | {"state": state}


def _deflated(file: Path) -> Tensor:
    """A text, compressed, as bytes ``[n]``."""
    return torch.frombuffer(bytearray(zlib.compress(read_bytes(file), 9)), dtype=torch.uint8)


def _inflated(packed: Tensor) -> bytes:
    """The text again.

    Raises:
        ValueError: it is longer than any run's.
    """
    stream = zlib.decompressobj()
    text = stream.decompress(packed.numpy().tobytes(), _MOST_TEXT)
    if not stream.eof:
        raise ValueError("too long, or cut short")
    return text
