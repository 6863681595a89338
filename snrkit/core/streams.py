"""Named, counted random streams from one root seed.

Every stream is a pure function of (seed, purpose, index): nothing is consumed in order, so the same numbers come out
whatever ran before, and a resumed run needs no generator state. The global random state of torch and numpy is neither
read nor changed.

On a CPU the numbers come from numpy (PCG64DXSM keyed by a 128-bit hash); torch's CPU generator keeps only 32 bits of its
seed, too few for the hundred thousands of streams of one measurement. On a CUDA device torch's generator is used (its
Philox takes 64 bits), so the numbers differ between CPU and CUDA.

Numbers are drawn in float32 and converted, so that runs in different precision see the same ones.
"""

import math
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

# On a CUDA device numbers drawn in parts are others than those drawn at once, so what is drawn at once is part of the
# stream: so many at most, 1 GiB.
_AT_ONCE = 2**28


def dreams_of(purpose: str) -> str:
    """The stream of the noise of dreams beside that of a purpose."""
    return f"{purpose}-dreams"


class Streams:
    """All random streams of one root seed.

    Args:
        seed: the root, a non-negative integer.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def _sequence(self, purpose: str, index: Sequence[int]) -> np.random.SeedSequence:
        # CRC-32 only separates the few purposes, which are fixed names in this package.
        return np.random.SeedSequence(self.seed, spawn_key=(zlib.crc32(purpose.encode()), *index))

    def numpy(self, purpose: str, *index: int) -> np.random.Generator:
        """The numpy generator of one stream, at its beginning."""
        return np.random.Generator(np.random.PCG64DXSM(self._sequence(purpose, index)))

    def integer(self, purpose: str, *index: int) -> int:
        """A 63-bit integer that stands for the stream, e.g. as another library's seed."""
        return int(self._sequence(purpose, index).generate_state(1, np.uint64)[0] >> 1)

    def _torch(self, purpose: str, index: Sequence[int], device: torch.device) -> torch.Generator:
        return torch.Generator(device=device).manual_seed(self.integer(purpose, *index))

    def normal(
        self, purpose: str, index: Sequence[int], shape: Sequence[int], *, dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        """Standard normal numbers of the given shape."""
        if device.type == "cpu":
            numbers = self.numpy(purpose, *index).standard_normal(tuple(shape), dtype=np.float32)
            return torch.from_numpy(numbers).to(dtype)
        generator = self._torch(purpose, index, device)
        return torch.randn(tuple(shape), dtype=torch.float32, generator=generator, device=device).to(dtype)

    def normal_rows(
        self,
        purpose: str,
        index: Sequence[int],
        rows: int,
        shape: Sequence[int],
        portion: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> Iterator[Tensor]:
        """The numbers that ``normal`` gives for ``[rows, *shape]``, a portion of rows at a time, which is all that is held.

        On a CUDA device that is so up to 2^28 numbers, and these are held. More are drawn in stretches of as many whole rows
        as that, each from a stream of its own, so that they do not depend on the portion either.

        Args:
            purpose: name of the stream.
            index: index within the stream.
            rows: how many in all.
            shape: of one row.
            portion: rows at once, at least 1; the last portion, and on CUDA the last of a stretch, may be smaller.
            dtype: type of the numbers.
            device: where they go.
        """
        if device.type == "cpu":
            generator = self.numpy(purpose, *index)
            for start in range(0, rows, portion):
                size = (min(portion, rows - start), *shape)
                yield torch.from_numpy(generator.standard_normal(size, dtype=np.float32)).to(dtype)
            return
        stretch = max(1, _AT_ONCE // max(1, math.prod(shape)))
        for part, start in enumerate(range(0, rows, stretch)):
            own = (*index, part) if rows > stretch else index
            size = (min(stretch, rows - start), *shape)
            for piece in torch.split(self.normal(purpose, own, size, dtype=torch.float32, device=device), portion):
                yield piece.to(dtype)

    def uniform(
        self, purpose: str, index: Sequence[int], shape: Sequence[int], *, dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        """Numbers uniform on [0, 1) of the given shape."""
        if device.type == "cpu":
            return torch.from_numpy(self.numpy(purpose, *index).random(tuple(shape), dtype=np.float32)).to(dtype)
        generator = self._torch(purpose, index, device)
        return torch.rand(tuple(shape), dtype=torch.float32, generator=generator, device=device).to(dtype)

    def permutation(self, purpose: str, index: Sequence[int], n: int) -> Tensor:
        """A random permutation of 0..n-1, int64 on the CPU."""
        return torch.from_numpy(self.numpy(purpose, *index).permutation(n))
