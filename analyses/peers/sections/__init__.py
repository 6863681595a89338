"""A section for each library."""
