"""The gradient noise of GPyTorch's variational ELBO: of a sparse process by minibatches, and of a deep one by samples.

pip install "snrkit[gpytorch]"
python examples/gaussian_process.py
"""

import torch
from gpytorch.distributions import MultivariateNormal
from gpytorch.kernels import RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.means import ConstantMean
from gpytorch.mlls import DeepApproximateMLL, VariationalELBO
from gpytorch.models import ApproximateGP
from gpytorch.models.deep_gps import DeepGP, DeepGPLayer
from gpytorch.settings import num_likelihood_samples
from gpytorch.variational import CholeskyVariationalDistribution, VariationalStrategy

import snrkit


class Sparse(ApproximateGP):
    """A sparse variational process with 10 inducing points."""

    def __init__(self):
        points = torch.linspace(-1, 1, 10)[:, None]
        super().__init__(VariationalStrategy(self, points, CholeskyVariationalDistribution(10)))
        self.mean, self.kernel = ConstantMean(), ScaleKernel(RBFKernel())
        self.likelihood = GaussianLikelihood()

    def forward(self, x):
        """The prior at x ``[N, D]``."""
        return MultivariateNormal(self.mean(x), self.kernel(x))


class Layer(DeepGPLayer):
    """One of a deep process."""

    def __init__(self, inputs, outputs=None):
        shape = torch.Size([] if outputs is None else [outputs])
        points = torch.randn(*shape, 6, inputs)
        strategy = VariationalStrategy(self, points, CholeskyVariationalDistribution(6, batch_shape=shape))
        super().__init__(strategy, inputs, outputs)
        self.mean = ConstantMean(batch_shape=shape)
        self.kernel = ScaleKernel(RBFKernel(batch_shape=shape), batch_shape=shape)

    def forward(self, x):
        """The prior at x ``[N, D]``."""
        return MultivariateNormal(self.mean(x), self.kernel(x))


class Deep(DeepGP):
    """Two layers, the first of which has two outputs."""

    def __init__(self):
        super().__init__()
        self.first, self.last = Layer(1, 2), Layer(2)
        self.likelihood = GaussianLikelihood()

    def forward(self, x):
        """The last layer's outputs at x ``[N, 1]``."""
        return self.last(self.first(x))


def sparse_loss(model, batch):
    """The negative ELBO of a batch, from the closed form."""
    x, y = batch
    return -VariationalELBO(model.likelihood, model, num_data=40)(model(x), y)


def deep_loss(model, batch, samples=16):
    """The negative ELBO, from samples that go through the layers."""
    x, y = batch
    bound = DeepApproximateMLL(VariationalELBO(model.likelihood, model, num_data=40))
    with num_likelihood_samples(samples):
        return -bound(model(x), y)


def trained(build, loss, batch, steps=30):
    """A process some way into its training. GPyTorch sets q(u) at the first call, which must not be a measured one."""
    torch.manual_seed(0)
    model = build()
    adam = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(steps):
        adam.zero_grad()
        loss(model, batch).backward()
        adam.step()
    return model


def data():
    """40 points of a noisy sine."""
    torch.manual_seed(1)
    x = torch.linspace(-1, 1, 40)[:, None]
    return x, torch.sin(4 * x[:, 0]) + 0.2 * torch.randn(40)


def main() -> None:
    """Measure and print."""
    x, y = data()

    def batch():
        chosen = torch.randint(40, (10,))
        return x[chosen], y[chosen]

    table = snrkit.measure_loss(sparse_loss, trained(Sparse, sparse_loss, (x, y)), batch, draws=200)
    rows = table[(table.block == "all") & (table.scope == "dataset")].set_index("metric")
    for name in ("data_variance", "monte_carlo_variance"):
        print(f"sparse, batches of 10, {name}: {rows.value[name]:.3g} ± {rows.stderr[name]:.2g}")

    table = snrkit.measure_loss(deep_loss, trained(Deep, deep_loss, (x, y)), (x, y), draws=200, M=[1, 16])
    for row in table[(table.metric == "snr_pooled") & table.block.isin(["first", "last"])].itertuples():
        print(f"deep, {row.block} layer, {16 * row.M} samples, pooled SNR: {row.value:.3f} ± {row.stderr:.3f}")


if __name__ == "__main__":
    main()
