"""One file per section of the analysis."""
