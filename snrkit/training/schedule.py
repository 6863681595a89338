"""Learning rate as a function of the epoch."""

from snrkit.config import OptimiserSpec


def learning_rate(spec: OptimiserSpec, epoch: int) -> float:
    """The rate during an epoch, counted from 0.

    ``burda``: stage i lasts 3^i epochs at lr 10^(-i/7), i = 0, 1, ... (Burda et al. 2016, section 5: stages 0 to 7 make
    3,280 epochs; longer runs go on in the same way).
    """
    if spec.schedule == "constant":
        return spec.lr
    stage, last = 0, 1
    while epoch >= last:
        stage += 1
        last += 3**stage
    rate: float = spec.lr * 10 ** (-stage / 7)
    return rate
