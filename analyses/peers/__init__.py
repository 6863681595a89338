"""Other libraries' models through the adapters, beside loops written by hand."""
