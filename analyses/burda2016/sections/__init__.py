"""The parts of this analysis, one module each."""
