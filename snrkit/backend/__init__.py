"""What lies beneath the mathematics: devices, matrix libraries, memory and captured graphs."""
