"""What is asked of losses, checked before anything is called."""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor, nn

from snrkit.backend.memory import require_memory
from snrkit.errors import SpecError
from snrkit.losses.gradient import Loss
from snrkit.losses.parameters import Trained, trained
from snrkit.specs.base import Mode, short
from snrkit.specs.given import counts, plain

Direction = Literal["descent", "ascent"]
_FEWEST = 4


@dataclass(frozen=True)
class Asked:
    """A measurement of losses, before any draw.

    Attributes:
        losses: by name; all see the same seeds.
        trained: the parameters.
        batch: what the losses are called with, or a function that gives another at each call (``redrawn``).
        redrawn: whether it is such a function.
        draws: gradient draws R.
        seed: root of the draws.
        mode: of the modules.
        direction: where the losses go.
        M: numbers of repetitions that a gradient averages.
        repeats: draws of each batch; 1 where there is one batch.
        noise: shape of the noise that is an argument; None: there is none.
        dsnr: whether the DSNR is measured.
    """

    losses: dict[str, Loss]
    trained: Trained
    batch: Any
    redrawn: bool
    draws: int
    seed: int
    mode: Mode
    direction: Direction
    M: tuple[int, ...]
    repeats: int
    noise: tuple[int, ...] | None
    dsnr: bool

    @property
    def batches(self) -> int:
        """Independent draws: of the batch, or batches."""
        return self.draws // self.repeats


def asked(  # noqa: PLR0913 (one option each)
    loss: Any,
    model_or_parameters: Any,
    groups: Mapping[str, Any] | None = None,
    batch: Any = None,
    *,
    draws: int = 1000,
    seed: int = 0,
    mode: Mode = "training",
    direction: Direction = "descent",
    M: int | Iterable[int] = 1,
    repeats: int = 2,
    noise: Iterable[int] | None = None,
    dsnr: bool = False,
) -> Asked:
    """What is asked of losses; arguments as for ``measure_loss``.

    Raises:
        SpecError: an argument is out of range.
        CapabilityError: the parameters cannot be measured.
    """
    redrawn = _is_redrawn(batch)
    losses = _named(loss)
    draws, seed, repeats = _whole("draws", draws, _FEWEST), _whole("seed", seed, 0), _whole("repeats", repeats, 1)
    _choice("mode", mode, get_args(Mode))
    _choice("direction", direction, get_args(Direction))
    many = counts("M", M)
    if redrawn:
        _check_redrawn(draws, repeats, many, dsnr)
    found = Asked(
        losses, trained(model_or_parameters, groups), batch, redrawn, draws, seed, mode, direction, many,
        repeats if redrawn else 1, _shape(noise), dsnr,
    )  # fmt: skip
    _check_memory(found)
    return found


def _is_redrawn(batch: Any) -> bool:
    if hasattr(batch, "__next__") or type(batch).__name__.endswith("DataLoader"):
        remedy = "give one batch, next(iter(loader)), or a function that draws one: lambda: next(iter(loader))"
        raise SpecError("batch", f"is a {type(batch).__name__}, which holds many", remedy)
    return callable(batch) and not isinstance(batch, Tensor | nn.Module)


def _named(loss: Any) -> dict[str, Loss]:
    if isinstance(loss, Mapping):
        if not loss:
            raise SpecError("loss", "is an empty dict", "give a loss, or several by name")
        odd = next((name for name, one in loss.items() if not callable(one)), None)
        if odd is not None:
            raise SpecError("loss", f"'{odd}' is a {type(loss[odd]).__name__}", "give functions: loss(model, batch)")
        return {str(name): one for name, one in loss.items()}
    if isinstance(loss, Tensor):
        remedy = "give the function that computes it: loss(model, batch)"
        raise SpecError("loss", "is a tensor, of which there can be no second draw", remedy)
    if not callable(loss):
        raise SpecError("loss", f"is a {type(loss).__name__}", "give a function loss(model, batch)")
    return {_name_of(loss): loss}


def _name_of(loss: Callable[..., Any]) -> str:
    inner = loss.func if isinstance(loss, functools.partial) else loss
    name = getattr(inner, "__name__", type(inner).__name__)
    return "loss" if name == "<lambda>" else str(name)


def _whole(argument: str, value: Any, least: int) -> int:
    number = plain(value)
    if number is None or not least <= number < 2**63:
        raise SpecError(argument, f"must be a whole number, at least {least}, got {short(value)}", "correct it")
    return number


def _choice(argument: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SpecError(argument, f"must be {' or '.join(choices)}, got {short(value)}", f"choose {choices[0]}")


def _shape(noise: Any) -> tuple[int, ...] | None:
    if noise is None:
        return None
    return counts("noise", noise)


def _check_redrawn(draws: int, repeats: int, many: tuple[int, ...], dsnr: bool) -> None:
    if draws % repeats or draws // repeats < _FEWEST:
        problem = f"{draws} draws are no {_FEWEST} or more batches of {repeats} draws each"
        raise SpecError("draws", problem, f"give a multiple of repeats={repeats}, at least {_FEWEST * repeats}")
    if many != (1,):
        problem = "averages repetitions on one batch, and batches are drawn anew"
        raise SpecError("M", problem, "leave it out: critical_M says at which M the batch's own noise prevails")
    if dsnr:
        raise SpecError("dsnr", "is of one batch, and batches are drawn anew", "give one batch")


def _check_memory(what: Asked) -> None:
    count, size = min(20, what.batches // 2), what.trained.layout.size
    asked_for = f"{count} blocks of the moments of {size:,} coordinates"
    remedy = "measure fewer parameters (freeze the others), or fewer than 40 draws, which fall into fewer blocks"
    require_memory("draws", asked_for, 8 * size * (4 * count + 6) * (2 if what.repeats > 1 else 1), remedy)
