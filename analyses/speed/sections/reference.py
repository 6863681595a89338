"""What is measured: the papers' network on one binarised image, and the limit that the hardware sets."""

import torch
from torch import Tensor
from torch.nn import functional

from analyses.speed.sections.timing import seconds
from snrkit.models.mlp import Mlp

HIDDEN, LATENT, PIXELS = 200, 50, 784
# Multiply-adds of the decoder per importance sample and pass: forward, to the inputs, and to the weights are one pass each.
DECODER = LATENT * HIDDEN + HIDDEN * HIDDEN + HIDDEN * PIXELS


def device() -> torch.device:
    """CUDA where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name() -> str:
    """The GPU's name, or the processor's vector instructions, on which much depends: ``cpu-avx512``."""
    name = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu-{torch.backends.cpu.get_cpu_capability()}"
    )
    return name.replace(" ", "-").lower()


def reference() -> tuple[Mlp, Tensor]:
    """The one-layer model of 425,284 parameters, freshly initialised, and one image ``[1, 784]``."""
    torch.manual_seed(0)
    model = Mlp(PIXELS, (HIDDEN, HIDDEN), LATENT).to(device())
    return model, (torch.rand(1, PIXELS) < 0.2).float().to(device())


def limit() -> dict[str, float]:
    """GFLOP/s of each kernel that can compute the largest layer, 2,048 rows; the best of 30 calls."""
    rows = 2048
    x, weight = torch.randn(rows, HIDDEN, device=device()), torch.randn(PIXELS, HIDDEN, device=device())
    image = x.view(1, rows, 1, HIDDEN).permute(0, 3, 1, 2)
    calls = {
        "F.linear": lambda: functional.linear(x, weight),
        "1x1 convolution": lambda: functional.conv2d(image, weight[:, :, None, None]),
    }
    if not x.is_cuda:
        calls["oneDNN linear"] = lambda: torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    flops = 2 * rows * HIDDEN * PIXELS / 1e9
    found = {name: [] for name in calls}
    for _ in range(30):
        for name, call in calls.items():
            found[name].append(seconds(call))
    return {name: flops / min(times) for name, times in found.items()}
