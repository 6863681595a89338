"""What commands tell of decoded points of the latent space."""

from typing import TYPE_CHECKING

from snrkit.cli.output import one_line, print_json, tell

if TYPE_CHECKING:
    from snrkit.pictures import Shown


def tell_shown(run: str, found: "Shown", as_json: bool) -> None:
    """Write the files, and tell of them and of what they hold.

    Raises:
        OutputError: a file, or stdout, cannot be written.
    """
    files = found.save()
    lines = [one_line(line) for line in found.lines()]
    if not as_json:
        for line in [*lines, *files]:
            tell(str(line))
        return
    wanted = [name for name in ("sample", "pair", "place", "t", "kind", "text") if name in found.table]
    rows = found.table[wanted].to_dict("records") if found.is_text else []
    print_json({"run": run, "files": [str(file) for file in files], "rows": len(found.table), "sentences": rows})
