"""Finished blocks of draws on disk, so that an interrupted measurement goes on where it stopped."""

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from snrkit import checksums
from snrkit.core.batches import Batch, named_leaves
from snrkit.diagnostics.moments import BlockMoments, DeviceBlock
from snrkit.diagnostics.plan import Job
from snrkit.errors import OutputError
from snrkit.files import discard_partial, read_bytes, write_bytes
from snrkit.fleet.shared import discard_proofs
from snrkit.registry import makers
from snrkit.types import Array

_FIELDS = ("mean", "variance", "points")
_PER_POINT = 3


class Store:
    """A folder of finished blocks; each file is named by everything that its content depends on, and bears a checksum.

    Several processes may share a folder: a block is there whole or not at all, and equal names mean equal content.

    Args:
        folder: where; made when the first block is saved. None: nothing is kept.
        context: what all blocks of the measurement depend on (see ``fingerprint``).
        sizes: (P, T), coordinates and tensors of the gradient, which a block must have; None: they are not known.

    Attributes:
        folder: the same.
    """

    def __init__(self, folder: Path | None, context: str, sizes: tuple[int, int] | None = None) -> None:
        self.folder, self._context, self._sizes = folder, context, sizes
        self._own: set[Path] = set()

    def load(self, job: Job, draws: range) -> BlockMoments | None:
        """A finished block, or None where there is none that can be read and used; it is drawn again."""
        path = self.file(job, draws)
        if path is None:
            return None
        try:
            block = self.read(read_bytes(path), draws)
        except OSError:
            return None
        if block is not None:
            self._own.add(path)
        return block

    def has(self, job: Job, draws: range) -> bool:
        """Whether there is a file of a block, which may be damaged."""
        path = self.file(job, draws)
        return path is not None and path.is_file()

    def read(self, content: bytes, draws: range) -> BlockMoments | None:
        """The block that ``written`` gave, or None where it is not one of such gradients."""
        found = unsealed(content)
        if found is None or not set(_FIELDS) <= found.keys():
            return None
        block = BlockMoments(len(draws), *(found[name] for name in _FIELDS))
        return block if self._is_sound(block) else None

    def _is_sound(self, block: BlockMoments) -> bool:
        """Whether a block is moments, and of such gradients."""
        arrays = block.mean, block.variance, block.points
        if any(array.dtype != np.float64 or not np.isfinite(array).all() for array in arrays):
            return False
        if block.mean.ndim != 1 or block.variance.shape != block.mean.shape:
            return False
        if block.points.ndim != 3 or 0 in block.points.shape or block.points.shape[2] != _PER_POINT:
            return False
        if self._sizes not in (None, (block.mean.shape[0], block.points.shape[1])):
            return False
        # Of each point: the squared norm of its mean, an inner product, and the trace of its covariance.
        return bool((block.variance >= 0).all() and (block.points[..., [0, 2]] >= 0).all())

    def save(self, job: Job, draws: range, block: BlockMoments | DeviceBlock | bytes | None) -> None:
        """Keep a block, or what ``written`` gave of it, whole or not at all; None: a worker has put it there.

        Raises:
            OutputError: the folder cannot be written.
        """
        path = self.file(job, draws)
        if path is not None:
            if block is not None:
                write_bytes(path, block if isinstance(block, bytes) else written(block))
            self._own.add(path)

    def clear(self) -> None:
        """Remove the blocks loaded or saved, and the folder if nothing else is in it: what was made of them is safe.

        Blocks that another measurement left there are still needed for it to go on.
        """
        if self.folder is None:
            return
        with suppress(OSError, OutputError):
            for path in self._own:
                path.unlink(missing_ok=True)
                discard_partial(path)
            discard_partial(self.folder / "block-*.npz", old=True)
            discard_proofs(self.folder)
            self.folder.rmdir()

    def file(self, job: Job, draws: range) -> Path | None:
        """Where a block goes; None: nothing is kept."""
        if self.folder is None:
            return None
        parts = [
            self._context, repr(job.estimator), job.M, job.K, job.direct, job.groups, draws.start, draws.stop,
            job.draws,  # on which the choice of what draws it depends
            *makers(job.estimator),
            *([job.noise] if job.noise != "shared" else []),
        ]  # fmt: skip
        return self.folder / f"block-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]}.npz"


def written(block: BlockMoments | DeviceBlock) -> bytes:
    """A block as bytes with a checksum."""
    own = block.host()
    return sealed({name: getattr(own, name) for name in _FIELDS})


def sealed(arrays: Mapping[str, Array]) -> bytes:
    """Named arrays as bytes with a checksum."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return checksums.seal_zip(buffer.getvalue())


def unsealed(content: bytes) -> dict[str, Array] | None:
    """The arrays of ``sealed``; None where they are damaged. Nothing in them is executed."""
    try:
        whole = checksums.verify(content)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except Exception:  # numpy and zipfile raise nearly anything on damaged bytes
        return None
    return found if whole else None


def parameters_digest(model: nn.Module) -> str:
    """First 12 hex digits of the SHA-256 of the model's parameters and buffers: which model a table's rows are about."""
    return digest_of([*model.named_parameters(), *model.named_buffers()])


def digest_of(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """First 12 hex digits of the SHA-256 of named tensors."""
    digest = hashlib.sha256()
    _update(digest, tensors)
    return digest.hexdigest()[:12]


def fingerprint(tensors: Iterable[tuple[str, Tensor]], x: Batch, *labels: object) -> str:
    """SHA-256 over the model's named tensors, data and labels: what draws depend on beside their job."""
    digest = hashlib.sha256(json.dumps([str(label) for label in labels]).encode())
    # A tensor by itself has the plain name; parts of a structure have their places, a dict's its keys.
    parts = [("x", x)] if isinstance(x, Tensor) else [(f"x{place}", part) for place, part in named_leaves(x)]
    _update(digest, [*tensors, *parts])
    return digest.hexdigest()


def _update(digest: "hashlib._Hash", tensors: Iterable[tuple[str, Tensor]]) -> None:
    for name, tensor in tensors:
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        flat = tensor.detach().cpu().to_dense().flatten()
        digest.update(flat.view(torch.uint8).numpy().tobytes())  # numpy lacks bfloat16
