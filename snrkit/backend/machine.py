"""What the last bits of a number depend on beside what is asked: versions, processor, matrix library, threads."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from snrkit.backend import processor
from snrkit.backend.kernels import has_onednn
from snrkit.registry import source_digest
from snrkit.version import version


@dataclass(frozen=True)
class Machine:
    """A kind of machine and what is installed on it: of two that are equal the same work has the same bits.

    Attributes:
        snrkit: version, and digest of the source.
        torch: its version.
        numpy: its version.
        processor: the maker's name of it.
        vectors: the instructions that torch takes there, e.g. ``AVX2``.
        onednn: whether torch offers the second matrix library (see ``backend.kernels``).
    """

    snrkit: str
    torch: str
    numpy: str
    processor: str
    vectors: str
    onednn: bool

    @classmethod
    @functools.cache
    def here(cls) -> "Machine":
        """That of this process."""
        return cls(
            f"{version()} ({source_digest('snrkit')[:12]})", torch.__version__, np.__version__, processor.model(),
            torch.backends.cpu.get_cpu_capability(), has_onednn(),
        )  # fmt: skip

    @property
    def software(self) -> dict[str, str]:
        """What can be installed."""
        return {"snrkit": self.snrkit, "torch": self.torch, "numpy": self.numpy}

    @property
    def hardware(self) -> str:
        """What cannot, in a phrase."""
        return f"{self.processor} ({self.vectors}{'' if self.onednn else ', without oneDNN'})"

    @property
    def label(self) -> str:
        """What names kept results of draws: the source is not in it, since most changes to it change no number."""
        return f"torch {self.torch}, numpy {self.numpy}, {self.hardware}"


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Within the block torch computes on so many threads of the processor; None: on as many as it does anyway."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count is not None:
            torch.set_num_threads(before)
