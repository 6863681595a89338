"""Which processor this is."""

import functools
import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


def maker() -> str:
    """The maker's name, as the processor itself has it, e.g. ``GenuineIntel``; empty where the system does not say."""
    return _told("vendor_id") or ""


def model() -> str:
    """The maker's name of it, or its family where the system does not say."""
    return _told("model name") or (
        platform.machine() if _CPUINFO.exists() else platform.processor() or platform.machine()
    )


@functools.cache
def _told(key: str) -> str | None:
    """What Linux tells of the first of the processors."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), None)
