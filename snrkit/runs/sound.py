"""What is wrong with a checkpoint's content, in a phrase; empty where nothing is.

All of it is looked at before any is used: torch reads beyond a tensor that is smaller than it believes, and an integer where
it expects another type ends the process.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from snrkit.backend.kernels import LIBRARIES
from snrkit.specs.options import LearntOption
from snrkit.specs.run import RunSpec

if TYPE_CHECKING:
    from snrkit.runs.checkpoint import Checkpoint

_RUNNING = ("bound", "points", "seconds")
_MOMENTS = ("exp_avg", "exp_avg_sq")
_ADAM = frozenset({"step", *_MOMENTS})
# From here on a float32 no longer counts by ones.
_COUNTED = 2**24
_LARGEST = 2**63


def place_problem(checkpoint: Checkpoint, spec: RunSpec) -> str:
    """Of how far training is: epoch, step and position count, and the sums over the unfinished epoch belong to them."""
    for name in ("epoch", "step", "position"):
        value = getattr(checkpoint, name)
        if isinstance(value, bool) or not 0 <= value < _LARGEST:
            return f"{name} is {value!r:.40}"
    if checkpoint.epoch + checkpoint.position > checkpoint.step:
        return f"step {checkpoint.step} is too early for epoch {checkpoint.epoch}, position {checkpoint.position}"
    running = checkpoint.running
    if set(running) != set(_RUNNING):
        return f"running does not hold {', '.join(_RUNNING)}"
    for name in _RUNNING:
        if not _is_finite(running[name]):
            return f"running {name} is {running[name]!r:.40}"
    points = running["points"]
    if running["seconds"] < 0 or not checkpoint.position <= points <= checkpoint.position * spec.batch_size:
        return f"running points are {points:g} after {checkpoint.position} steps of {spec.batch_size}"
    return _past_problem(checkpoint)


def _past_problem(checkpoint: Checkpoint) -> str:
    """Of how the run came here: with which matrix library, and from where it went on with rounded moments."""
    if any(type(step) is not int or not 0 <= step <= checkpoint.step for step in checkpoint.rounded):
        return f"rounded is {checkpoint.rounded!r:.40} at step {checkpoint.step}"
    return "" if checkpoint.kernels in ("", *LIBRARIES) else f"kernels are {checkpoint.kernels!r:.40}"


def _is_finite(number: Any) -> bool:
    if isinstance(number, float):
        return math.isfinite(number)
    return isinstance(number, int) and not isinstance(number, bool) and abs(number) < _LARGEST


def data_problem(checkpoint: Checkpoint) -> str:
    """Of what is noted of the data."""
    problem = _tensor_problem(checkpoint.data_mean)
    if problem:
        return f"data_mean {problem}"
    if checkpoint.data_mean.ndim != 1 or not checkpoint.data_mean.numel():
        return f"data_mean has shape {list(checkpoint.data_mean.shape)}"
    if not checkpoint.data_mean.is_floating_point():
        return f"data_mean is of {_type(checkpoint.data_mean)}"
    if not _all_finite(checkpoint.data_mean):
        return "data_mean is not finite"
    if not re.fullmatch("([0-9a-f]{64})?", checkpoint.data_digest):
        return "data_digest is no digest"
    return _named_problem(checkpoint)


def _named_problem(checkpoint: Checkpoint) -> str:
    """Of the words and the height and width that belong to the numbers of a data point."""
    if not all(isinstance(word, str) for word in checkpoint.data_words):
        return "data_words are no words"
    shape, pixels = checkpoint.image_shape, checkpoint.data_mean.numel()
    sizes = [size for size in shape if type(size) is int and 0 < size <= pixels]
    right = shape == () or (len(shape) == len(sizes) == 2 and math.prod(sizes) == pixels)
    return "" if right else f"image_shape is {shape!r:.40}, and a data point has {pixels} numbers"


def hyper_problem(checkpoint: Checkpoint, spec: RunSpec) -> str:
    """Of the states of learnt options; where one is missing, going on says so."""
    for name, state in checkpoint.hyper.items():
        if not isinstance(spec.estimator.options.get(name), LearntOption):
            return f"it has the state of a {name!s:.40}, which is not learnt"
        if problem := _option_problem(state, checkpoint.step):
            return f"{name} {problem}"
    return ""


def _option_problem(state: Any, step: int) -> str:
    """Of the state of a learnt option: one number and Adam's three of it."""
    if not isinstance(state, dict) or set(state) not in ({"raw"}, {"raw", *_ADAM}):
        return f"holds {_names(state) if isinstance(state, dict) else 'no state'}"
    for name, value in state.items():
        problem = _tensor_problem(value) or _like_problem(value, torch.Size(()))
        if problem or not value.is_floating_point():
            return f"{name} {problem or f'is of {_type(value)}'}"
        if name in ("step", "exp_avg_sq") and bool(value < 0):
            return f"{name} is negative"
    return _step_problem(state["step"], step) if "step" in state else ""


def model_problem(state: Mapping[str, Any], model: nn.Module, *, exported: bool) -> str:
    """Of the parameters and buffers: names, shapes, types (exported copies have half precision), and all of them finite."""
    expected = model.state_dict()
    if set(state) != set(expected):
        odd = set(state) ^ set(expected)
        return f"it has, or lacks, {_names(odd)}"
    for name, own in expected.items():
        value = state[name]
        problem = _tensor_problem(value) or _like_problem(value, own.shape)
        if not problem and value.dtype != own.dtype and not (exported and _is_half(value.dtype, own.dtype)):
            problem = f"is of {_type(value)}, not {str(own.dtype).removeprefix('torch.')}"
        if problem:
            return f"{name} {problem}"
    return ""


def optimiser_problem(state: Mapping[str, Any], optimiser: torch.optim.Optimizer, step: int) -> str:
    """Of Adam's state: its settings, and for every parameter the moments and the count of steps."""
    if set(state) != {"state", "param_groups"} or not isinstance(state["state"], dict):
        return "it has no optimiser's state"
    own = optimiser.state_dict()["param_groups"]
    return _groups_problem(state["param_groups"], own) or _moments_problem(state["state"], optimiser, step)


def _groups_problem(groups: Any, expected: list[dict[str, Any]]) -> str:
    if not isinstance(groups, list) or len(groups) != len(expected):
        return "the optimiser has other groups"
    for group, own in zip(groups, expected, strict=True):
        if not isinstance(group, dict) or not {"params", "lr", "betas", "eps", "maximize"} <= set(group):
            return "the optimiser's settings are incomplete"
        # Other versions of torch may have other settings, and other ways to say none; these decide what a step is.
        for name in ("params", "betas", "eps", "maximize", "amsgrad", "weight_decay"):
            if name in group and not _same(group[name], own[name]):
                return f"the optimiser's {name} are others"
        if not _is_finite(group["lr"]) or group["lr"] <= 0:
            return "the optimiser's lr is no rate"
    return ""


def _same(one: Any, other: Any) -> bool:
    if isinstance(other, list | tuple):
        return isinstance(one, list | tuple) and len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)


def _moments_problem(state: dict[Any, Any], optimiser: torch.optim.Optimizer, step: int) -> str:
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    if not state and step == 0:
        return ""
    if set(state) != set(range(len(parameters))):
        return f"the optimiser has moments of {len(state)} tensors, and the model {len(parameters)}"
    for index, parameter in enumerate(parameters):
        problem = _moment_problem(state[index], parameter, step)
        if problem:
            return f"the optimiser's state of tensor {index}: {problem}"
    return ""


def _moment_problem(own: Any, parameter: Tensor, step: int) -> str:
    if not isinstance(own, dict) or set(own) != _ADAM:
        return f"it does not hold {', '.join(sorted(_ADAM))}"
    for name in _MOMENTS:
        problem = _tensor_problem(own[name]) or _like_problem(own[name], parameter.shape)
        if problem or own[name].dtype != parameter.dtype:
            return f"{name} {problem or f'is of {_type(own[name])}'}"
    if bool((own["exp_avg_sq"] < 0).any()):
        return "exp_avg_sq is negative"
    problem = _tensor_problem(own["step"]) or _step_problem(own["step"], step)
    return f"step {problem}" if problem else ""


def _step_problem(value: Tensor, step: int) -> str:
    if value.ndim or value.dtype not in (torch.float32, torch.float64):
        return f"is {_type(value)}{list(value.shape)}"
    right = float(value) == step if step <= _COUNTED else float(value) >= _COUNTED
    return "" if right else f"is {float(value):g} at step {step}"


def _tensor_problem(value: Any) -> str:
    """Of a tensor by itself: plain memory of its own size, so that it can be read and written to."""
    if not isinstance(value, Tensor):
        return "is no tensor"
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized or value.is_nested:
        return "is no plain tensor"
    if value.untyped_storage().nbytes() < value.numel() * value.element_size():
        return "is larger than what is stored of it"
    return ""


def _like_problem(value: Tensor, shape: torch.Size) -> str:
    """Of a tensor that is to have a shape and to be finite."""
    if value.shape != shape:
        return f"has shape {list(value.shape)}, not {list(shape)}"
    return "" if _all_finite(value) else "is not finite"


def _is_half(kind: torch.dtype, own: torch.dtype) -> bool:
    return kind == torch.float16 and own.is_floating_point


def _all_finite(value: Tensor) -> bool:
    return bool(torch.isfinite(value).all())


def _type(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _names(found: Iterable[Any]) -> str:
    return ", ".join(sorted(f"{name!s:.40}" for name in list(found)[:5]))


def sound_optimiser_state(state: Mapping[str, Any], optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """A state without problems, as the optimiser is to take it: in memory of its own, with its own settings but the rate."""
    own = optimiser.state_dict()["param_groups"]
    groups = [group | {"lr": saved["lr"]} for group, saved in zip(own, state["param_groups"], strict=True)]
    moments = {
        index: {name: value.clone(memory_format=torch.contiguous_format) for name, value in values.items()}
        for index, values in state["state"].items()
    }
    return {"state": moments, "param_groups": groups}
