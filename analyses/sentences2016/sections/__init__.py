"""The sections of the analysis."""
