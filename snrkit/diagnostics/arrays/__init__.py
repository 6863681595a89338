"""The arrays behind moments, wherever they lie, and what is read of them: numpy on the host, torch on a device."""
