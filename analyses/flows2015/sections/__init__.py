"""What is asked about flows, one module per section."""
