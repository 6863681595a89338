"""Other libraries' models through the adapters, beside loops written by hand.

python -m analyses.peers.run              all sections, then RESULTS.md
python -m analyses.peers.run pythae       one section, then RESULTS.md
"""

import logging
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pandas as pd

from analyses.common.report import Analysis, Place, Section


def section(name: str) -> Section:
    """A section whose library is imported as it is run, and whose warnings are not shown."""

    def run(place: Place) -> tuple[str, pd.DataFrame]:
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made: Callable[[Place], tuple[str, pd.DataFrame]] = import_module(f"analyses.peers.sections.{name}").run
            return made(place)

    return run


ANALYSIS = Analysis(
    Path(__file__).parent,
    {"pythae": section("of_pythae"), "pyro": section("of_pyro"), "lightning": section("of_lightning")},
)

if __name__ == "__main__":
    ANALYSIS.main()
