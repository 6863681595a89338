"""Whether the gradients of three losses carry a signal: a diffusion step, a policy gradient, and a training seen along.

python examples/any_loss.py
"""

import torch
from torch import nn
from torch.distributions import Categorical

import snrkit


def diffusion(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Denoise at a random time."""
    t = torch.rand(len(x), 1)
    noise = torch.randn_like(x)
    return (model(torch.cat([(1 - t) * x + t * noise, t], dim=1)) - noise).square().mean()


def policy_gradient(policy: nn.Module, states: torch.Tensor) -> torch.Tensor:
    """REINFORCE: reward where the action is the sign of the first number."""
    actions = Categorical(logits=policy(states))
    taken = actions.sample()
    reward = (taken == (states[:, 0] > 0).long()).float() - 0.5
    return -(actions.log_prob(taken) * reward).mean()


def made(*sizes: int) -> nn.Sequential:
    """A network of two layers."""
    torch.manual_seed(0)
    a, b, c = sizes
    return nn.Sequential(nn.Linear(a, b), nn.Tanh(), nn.Linear(b, c))


def pooled(table, block="all"):
    """snr_pooled of a block, with its error."""
    (row,) = table[(table.block == block) & (table.metric == "snr_pooled")].itertuples()
    return f"{row.value:.3f} ± {row.stderr:.3f}"


def main() -> None:
    """Measure and print."""
    images, states = torch.randn(64, 8), torch.randn(64, 4)

    table = snrkit.measure_loss(diffusion, made(9, 16, 8), images, draws=400)
    print("diffusion, pooled SNR:", pooled(table))

    policy = made(4, 16, 2)
    table = snrkit.measure_loss(policy_gradient, policy, states, draws=400, M=[1, 16])
    for M, part in table.groupby("M"):
        print(f"policy gradient, mean of {M}:", pooled(part))

    table = snrkit.measure_loss(policy_gradient, policy, lambda: states[torch.randint(64, (8,))], draws=400)
    parts = table[(table.block == "all") & (table.scope == "dataset")].set_index("metric").value
    print(f"of a batch of 8: data {parts.data_variance:.2g}, Monte Carlo {parts.monte_carlo_variance:.2g}")

    optimiser = torch.optim.Adam(policy.parameters(), 1e-2)
    monitor = snrkit.Monitor(policy_gradient, policy, states, every=50, draws=100, budget=None)
    for step in range(1, 151):
        optimiser.zero_grad()
        policy_gradient(policy, states).backward()
        optimiser.step()
        monitor(step)
    for step, part in monitor.table.groupby("step"):
        print(f"policy gradient after {step} steps:", pooled(part))


if __name__ == "__main__":
    main()
