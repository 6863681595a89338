"""What the metrics of an evaluation are called in tables, and which way is better."""

# Metric -> (heading, heading in LaTeX, which way is better), in the order of the columns; others follow under their names.
METRICS = {
    "iwae_64": ("IWAE-64", "", 1),
    "log_p": ("log p̂(x)", r"$\log \hat p(x)$", 1),
    "kl_q_p": ("KL(Q‖P)", r"$\mathrm{KL}(Q \Vert P)$", -1),
    "elbo": ("ELBO", "", 1),
    "ess_64": ("ESS of 64", "", 1),
    "ess": ("ESS", "", 1),
    "active_units": ("active units", "", 0),
    "ssim": ("SSIM", "", 1),
}


def title(metric: str) -> str:
    """Its heading."""
    return METRICS.get(metric, (metric,))[0]
