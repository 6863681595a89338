"""One file per section of the toy analysis."""
