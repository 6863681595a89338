"""A trial of a model before its first draw: what it is, found out by calling it, and whether that is enough."""
