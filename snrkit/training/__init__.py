"""Training runs: loop, learning-rate schedule, checkpoints, and evaluation of what came out."""
