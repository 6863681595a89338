"""Learning rate as a function of the epoch."""

from snrkit.specs.run import OptimiserSpec


def stage_of(epoch: int) -> int:
    """The stage that an epoch, counted from 0, belongs to: stage i lasts 3^i epochs (Burda et al. 2016, section 5)."""
    stage, last = 0, 1
    while epoch >= last:
        stage += 1
        last += 3**stage
    return stage


def learning_rate(spec: OptimiserSpec, epoch: int) -> float:
    """The rate during an epoch, counted from 0.

    ``burda``: stage i is trained at lr 10^(-i/7); stages 0 to 7 make 3,280 epochs, and longer runs go on in the same way.
    """
    if spec.schedule == "constant":
        return spec.lr
    rate: float = spec.lr * 10 ** (-stage_of(epoch) / 7)
    return rate
