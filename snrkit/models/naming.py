"""Names of models that are a class of a user's own file, ``FILE.py:CLASS``."""


def is_own(name: str) -> bool:
    """Whether a name is that of a class of a file, which is registered nowhere."""
    return ".py:" in name or name.endswith(".py")
