"""Errors from a user's own code, as one exception that says where it was and what it was given."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor

from snrkit.backend.memory import out_of_memory
from snrkit.core.batches import describe
from snrkit.errors import ModelError, SnrkitError
from snrkit.interrupt import Interrupted

# The methods that a user writes, those that say most first.
_METHODS = (("encode", "log_joint"), ("sample", "log_prob", "detached", "layer_means", "networks"), ("forward",))
_TORCH = str(Path(torch.__file__).parent)
_HOME = str(Path(__file__).parents[1])
# What calls functions that a user gave, such as ``progress``.
_CALLBACKS = "advance", "stopped", "moments"
# Parts of the package that call models.
_CALLERS = (
    "models",
    "trial",
    "losses",
    "diagnostics/engines",
    "diagnostics/rounding",
    "estimators",
    "backward",
    "training",
)
_REMEDIES = (
    (
        ("Expected more than 1 value per channel",),
        "batch normalisation needs at least two data points: give more, or measure in evaluation mode",
    ),
    (
        ("to satisfy the constraint", "Expected value argument", "within the support"),
        "torch.distributions checks its values: pass validate_args=False where values outside are meant",
    ),
    (
        ("does not require grad and does not have a grad_fn",),
        "nothing leads to a trained parameter: checkpoint with use_reentrant=False, and call nothing under torch.no_grad",
    ),
    (
        ("backward through the graph a second time",),
        "a loss is computed anew at each call; one that calls backward leaves .grad as it is: zero_grad before, not after",
    ),
    (
        ("'dict' object has no attribute",),
        "a mapping reaches the model as a plain dict: take its parts by key, x['name']",
    ),
)
_GENERIC = "correct it, or give data that the model was made for"


@contextmanager
def users_code(during: str = "a gradient draw") -> Iterator[None]:
    """Within the block only a user's code can raise; what it raises comes out as ``ModelError`` with the cause chained.

    Memory that ran out, our own errors and interruptions pass as they are.

    Args:
        during: what is being done, for errors that come from no method of the model (a backward pass).
    """
    try:
        yield
    except (SnrkitError, Interrupted):
        raise
    except Exception as error:
        if out_of_memory(error) or not _users(error):
            raise
        raise explain(error, during) from error


def _users(error: Exception) -> bool:
    """Whether an error came from a model's own code, or from torch on its behalf, rather than from a mistake of ours.

    Of what is not ours, torch counts only if a part of the package that calls models called it, and other code unless it is
    a function that a user gave to be called.
    """
    frames = _frames(error.__traceback__)
    files = [frame.f_code.co_filename for frame in frames]
    outside = next((i for i, name in enumerate(files) if not name.startswith(_HOME)), None)
    if outside is None:
        return _frame(error.__traceback__) is not None
    if any(not name.startswith((_HOME, _TORCH)) for name in files):
        return frames[outside - 1].f_code.co_name not in _CALLBACKS
    return any(files[outside - 1].startswith(str(Path(_HOME) / part)) for part in _CALLERS)


def explain(error: Exception, during: str) -> ModelError:
    """The method that raised, what it was given, what it said, and what may help."""
    frame = _frame(error.__traceback__)
    said = f"{type(error).__name__}: {_first_line(error)}"
    if frame is None:
        return ModelError("model", f"fails in {during}: {said}", _remedy(said, ""))
    given = _arguments(frame)
    where = f"{Path(frame.f_code.co_filename).name} line {_line(error.__traceback__, frame)}"
    problem = f"{frame.f_code.co_name} fails on {given} ({said}; {where})"
    return ModelError("model", problem, _remedy(said, given))


def _frame(traceback: TracebackType | None) -> FrameType | None:
    """The innermost call of a method of the user's that the traceback goes through."""
    own = [frame for frame in _frames(traceback) if not frame.f_code.co_filename.startswith(_TORCH)]
    for names in _METHODS:
        for frame in reversed(own):
            if frame.f_code.co_name in names and "self" in frame.f_locals:
                return frame
    return next((frame for frame in own if not frame.f_code.co_filename.startswith(_HOME)), None)


def _frames(traceback: TracebackType | None) -> list[FrameType]:
    frames = []
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    return frames


def _line(traceback: TracebackType | None, frame: FrameType) -> int:
    while traceback is not None:
        if traceback.tb_frame is frame:
            return traceback.tb_lineno
        traceback = traceback.tb_next
    return frame.f_lineno


def _arguments(frame: FrameType) -> str:
    """Names and shapes of a method's arguments, as they are now."""
    names = frame.f_code.co_varnames[1 : frame.f_code.co_argcount]
    return ", ".join(f"{name} {_shown(frame.f_locals.get(name))}" for name in names) or "no argument"


def _shown(value: Any) -> str:
    if isinstance(value, Tensor | dict | list | tuple):
        try:
            return describe(value)
        except Exception:  # a structure that holds other things than tensors
            return type(value).__name__
    return type(value).__name__


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no message"


def _remedy(said: str, given: str) -> str:
    known = next((remedy for words, remedy in _REMEDIES if any(word in said for word in words)), None)
    if known is not None:
        return known
    if any(f"not {kind}" in said for kind in ("list", "tuple")) and any(f" {start}" in given for start in "[("):
        return "lists and tuples are taken as parts of the data: join data points by torch.stack(x), or take parts by index"
    integers = any(kind in given for kind in ("int", "bool"))
    if integers and any(word in said for word in ("dtype", "Long", "Int", "Byte", "Bool")):
        return (
            "integers stay integers here: give the data as floating-point numbers (x.float()) if the model wants those"
        )
    if "must have the same dtype" in said:
        return "data and noise come in the type of the first trained parameter: cast where layers have another"
    return _GENERIC
