"""Figures and tables from what runs left behind. Reads through ``snrkit.runs`` only and never loads torch.

The package can be called: ``snrkit.report(tables, out)`` is ``snrkit.report.given.report``.
"""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *args: Any, **named: Any) -> Any:
        """See ``snrkit.report.given.report``."""
        from snrkit.report.given import report

        return report(*args, **named)


sys.modules[__name__].__class__ = _Callable
