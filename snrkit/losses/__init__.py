"""Gradients of any stochastic loss, of whatever a user trains: the moments, readings and tables that models have."""
