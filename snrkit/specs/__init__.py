"""Frozen, validated specifications of what to run, and their TOML form. No torch here."""
