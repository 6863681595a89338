"""Sentences: posterior collapse and its remedies."""
