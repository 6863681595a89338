"""Which setting or estimator a user means by a baseline."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from snrkit.errors import SpecError
from snrkit.report.chosen import is_meant
from snrkit.report.style import estimator_label


def name_and_options(title: str) -> tuple[str, str]:
    """Name and options of an estimator as a table shows it: ``ciwae (beta=0.5)``."""
    name, _, options = title.partition(" (")
    return name, options.removesuffix(")")


def meant_setting(baseline: str, keys: Mapping[str, "pd.Series[Any]"]) -> str | None:
    """The setting that a baseline names: by label or title, by run, or by estimator; None if none.

    Raises:
        SpecError: it names several.
    """
    wanted = baseline.casefold()
    ways: list[Callable[[Any], bool]] = [
        lambda key: wanted in (str(key["named"]).casefold(), str(key["titled"]).casefold()),
        lambda key: is_meant(baseline, str(key["run"]), str(key["folder"])),
        lambda key: wanted in _spellings(str(key["estimator"]), str(key["options"])),
        lambda key: wanted == str(key["estimator"]).casefold(),
    ]
    for way in ways:
        meant = [setting for setting, key in keys.items() if way(key)]
        if len(meant) == 1:
            return meant[0]
        if meant:
            titles = ", ".join(f"'{keys[setting]['titled']}'" for setting in meant)
            raise SpecError(
                "baseline", f"'{baseline}' is several: {titles}", "name one of them, or give it a name with --label"
            )
    return None


def meant_estimator(baseline: str, titles: Sequence[str]) -> str | None:
    """The estimator that a baseline names; None if none.

    Raises:
        SpecError: it names several.
    """
    wanted = baseline.casefold()
    spelt = [title for title in titles if wanted in _spellings(*name_and_options(title))]
    found = spelt or [title for title in titles if wanted == name_and_options(title)[0].casefold()]
    if len(found) > 1:
        raise SpecError(
            "baseline", f"'{baseline}' is several: {', '.join(found)}", "name one of them, with its options"
        )
    return found[0] if found else None


def _spellings(name: str, options: str) -> Iterator[str]:
    """What an estimator with its options may be called."""
    if not name:
        return iter(())
    written = (f"{name} ({options})", f"{name} {options}") if options else (name,)
    return iter([text.casefold() for text in (*written, estimator_label(name, options))])
