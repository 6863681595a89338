"""Log-weights and the bounds made of them, batches, derivatives and random streams: what all else is built on."""
