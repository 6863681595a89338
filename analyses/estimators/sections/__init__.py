"""The sections."""
