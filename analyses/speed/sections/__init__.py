"""What is timed, one module per section."""
