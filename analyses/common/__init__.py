"""What analyses of trained models share."""
