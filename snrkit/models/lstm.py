"""A long short-term memory made of plain linear layers, which engines can take apart and batch on every device."""

from torch import Tensor, nn


class Lstm(nn.Module):
    """One layer of LSTM cells (Hochreiter & Schmidhuber 1997, with forget gates), taken a step at a time.

    Its input layer has the bias; it is called by whoever takes a step, who may add to what it makes.

    Args:
        inputs: width of the input of a step.
        width: width H of hidden state and cell.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.input, self.state = nn.Linear(inputs, 4 * width), nn.Linear(width, 4 * width, bias=False)

    def forward(self, from_input: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden state and cell after a step.

        Args:
            from_input: ``input`` of what comes in, ``[..., 4 H]``.
            h: hidden state ``[..., H]``.
            c: cell ``[..., H]``.
        """
        gates = (from_input + self.state(h)).chunk(4, dim=-1)
        into, kept, out = (gates[i].sigmoid() for i in (0, 1, 3))
        c = kept * c + into * gates[2].tanh()
        return out * c.tanh(), c
