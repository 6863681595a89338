"""Every estimator on the Gaussian toy."""
