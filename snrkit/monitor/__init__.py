"""Measurements along a training in the user's own loop, Lightning or Hugging Face."""
