"""Training runs: loop, learning-rate schedule, steps, ensembles and sweeps."""
