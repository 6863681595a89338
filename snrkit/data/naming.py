"""What tables call the data of a file that a user brought: its name alone would not tell two of them apart."""

from pathlib import Path


def file_label(source: str, path: Path, digest: str) -> str:
    """``npz faces.npz 3fa1b2c4d5``: source, file, and the first digits of the contents' SHA-256.

    A colon ends the name of the data in a table, so there is none in it, nor any character that cannot be shown.
    """
    name = "".join(letter if letter.isprintable() and letter != ":" else "_" for letter in path.resolve().name)
    return f"{source} {name} {digest}"
