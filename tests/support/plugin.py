"""Packages that add to snrkit's registries, as an installer would leave them."""

from collections.abc import Mapping
from pathlib import Path


def install(folder: Path, name: str, version: str, groups: Mapping[str, Mapping[str, str]], **modules: str) -> None:
    """Lay a package and its metadata into a folder of ``sys.path``.

    Args:
        folder: the folder.
        name: of the distribution.
        version: of it.
        groups: group to name to ``module:attribute``.
        modules: source of each of its modules.
    """
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in entries.items()) for group, entries in groups.items()]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source)
