"""What a process keeps for all of it: global random generators and torch's switches, remembered and put back."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

Restore = Callable[[], None]
# Precision is put back by whoever sets it (``kernels.full_precision``); the old switch beside the new cannot be read.
_CUDNN = "benchmark", "deterministic", "enabled"


class Generators:
    """The global random generators of torch (of all devices in use), numpy and ``random``, as they are now."""

    NAMES = ("torch", "numpy", "random")

    def __init__(self) -> None:
        self._torch = [(generator, generator.get_state()) for generator in _of_torch()]
        self._numpy, self._random = np.random.get_state(), random.getstate()

    def restore(self) -> None:
        """Put them back."""
        for generator, state in self._torch:
            generator.set_state(state)
        np.random.set_state(self._numpy)
        random.setstate(self._random)

    def advanced(self) -> tuple[str, ...]:
        """Names of those that have been drawn from since."""
        drawn = any(not torch.equal(generator.get_state(), state) for generator, state in self._torch)
        _, key, *rest = np.random.get_state()
        _, old, *other = self._numpy
        moved = rest != other or not np.array_equal(key, old)
        changed = (drawn, moved, random.getstate() != self._random)
        return tuple(name for name, moved in zip(self.NAMES, changed, strict=True) if moved)


def seed_generators(seed: int) -> None:
    """Set the generators that ``Generators`` remembers to a place that ``seed`` of 63 bits names."""
    for generator in _of_torch():
        generator.manual_seed(seed)
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32])
    random.seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block the generators that ``Generators`` remembers are lent out, from a place that ``seed`` names."""
    before = Generators()
    try:
        seed_generators(seed)
        yield
    finally:
        before.restore()


def _of_torch() -> tuple[torch.Generator, ...]:
    # A device that is not in use yet is left alone: ``torch.manual_seed`` would leave it an order to be seeded later.
    in_use: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return torch.default_generator, *(torch.cuda.default_generators if in_use else ())


def switches() -> list[Restore]:
    """How to put back what torch keeps for the whole process or thread."""
    dtype, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    restores: list[Restore] = [lambda: torch.set_default_dtype(dtype)]
    # Where a user mixes torch's old and new switches of precision, setting the old one is refused; then it did not change.
    restores.append(
        lambda: _if_other(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, precision)
    )
    for device in ("cpu", "cuda"):
        enabled, kind = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
        restores.append(lambda d=device, e=enabled: torch.set_autocast_enabled(d, e))  # type: ignore[misc]
        restores.append(lambda d=device, k=kind: torch.set_autocast_dtype(d, k))  # type: ignore[misc]
    return [*restores, *_rarely_moved()]


def _rarely_moved() -> list[Restore]:
    """The same for what is set only if it was moved, since setting it has costs or warnings of its own."""
    pairs: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = [
        (torch.get_num_threads, torch.set_num_threads),
        (_determinism, lambda strict: torch.use_deterministic_algorithms(strict[0], warn_only=strict[1])),
        (_anomalies, lambda found: torch.autograd.set_detect_anomaly(*found)),
    ]
    cudnn = torch.backends.cudnn
    pairs += [(partial(getattr, cudnn, name), partial(setattr, cudnn, name)) for name in _CUDNN]
    return [partial(_if_other, read, write, read()) for read, write in pairs]


def _determinism() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _anomalies() -> tuple[bool, bool]:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()


def _if_other(read: Callable[[], Any], write: Callable[[Any], None], value: Any) -> None:
    if read() != value:
        write(value)
