"""Lower bounds on log p(x), in nats: values to report. Log-weights ``[..., B, M, K]`` in, ``[..., B]`` out."""

from torch import Tensor

from snrkit.core.logweights import log_mean_exp


def elbo(log_w: Tensor) -> Tensor:
    """Evidence lower bound, mean of log w over all M K samples (Kingma & Welling 2014)."""
    return log_w.mean(dim=(-2, -1))


def iwae(log_w: Tensor) -> Tensor:
    """K-sample bound log (1/K) sum_k w_k, averaged over M outer samples (Burda et al. 2016; M > 1: MIWAE)."""
    return log_mean_exp(log_w).mean(dim=-1)


def ciwae(log_w: Tensor, beta: float) -> Tensor:
    """beta ELBO + (1 - beta) K-sample bound on the same samples (Rainforth et al. 2018, CIWAE)."""
    return beta * elbo(log_w) + (1 - beta) * iwae(log_w)
