"""The trial: a model is called on x, on another x, on x again, with points and samples in other orders, and compared."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from snrkit.backend.process import Generators
from snrkit.core.backward import hides_parameters
from snrkit.core.batches import Batch, leaves, points, take, transform
from snrkit.core.objective import NETWORKS
from snrkit.errors import CapabilityError, SnrkitError, SpecError
from snrkit.models.base import LatentModel, check_log_weights
from snrkit.models.blame import users_code
from snrkit.models.calling import shown
from snrkit.models.distributions import as_posterior
from snrkit.models.draw import NO_PATH
from snrkit.models.state import Snapshot, differences, digest, in_mode
from snrkit.specs.base import Mode
from snrkit.trial.calls import Caller, Values, distance, flipped, require_weights, reverse, sample, weights
from snrkit.trial.derivatives import Derivative, examine_derivative
from snrkit.trial.findings import Findings, listed
from snrkit.trial.offered import lacking
from snrkit.trial.proposals import examine_detached, examine_proposal

# Relative distance of values that are the same: in float64, and in roundings of a type that the model fixes.
_SAME, _ROUNDINGS = 1e-9, 4
_EXACT = "float64"
_SEEDS = range(1, 33)


def examine(model: LatentModel, x: Batch, mode: Mode, snapshot: Snapshot | None = None) -> Findings:
    """Find out what a model is, in some tens of calls on a few data points. Its state is as before.

    Args:
        model: the model, in that mode, on the device of x; generators are the caller's to put back.
        x: data ``[B, *event]``.
        mode: the mode that it is in.
        snapshot: its state, if that has been remembered already.

    Raises:
        ModelError: the model's own code raises.
        SpecError: shapes are wrong, or the model initialises itself at its first call.
        CapabilityError: it is no function of parameters, data and noise, even from the same state of all generators.
        NonFiniteError: log-weights are NaN or infinite.
    """
    snapshot = snapshot or Snapshot(model)
    try:
        with users_code("a trial call"):
            return _Trial(model, x, mode, snapshot).findings()
    finally:
        snapshot.restore()


class _Trial:
    def __init__(self, model: LatentModel, x: Batch, mode: Mode, snapshot: Snapshot) -> None:
        self.model, self.x, self.mode, self.snapshot = model, x, mode, snapshot
        check_log_weights(model, x)
        self.caller = Caller(model, x, snapshot)
        self._fresh()
        self.drawn: tuple[str, ...] = ()
        self.idle = False
        self.eps = torch.finfo(self.caller.noise.dtype).eps

    def findings(self) -> Findings:
        values, draws, changes, remarks = self._purity()
        share = require_weights(values, self.caller.chosen)
        matters = self._mode_matters(values)
        compare, checked_in = self._comparison()
        independent, exchangeable = (None, True) if draws else self._couplings(compare, checked_in)
        found = Findings(
            mode=self.mode, checked_in=checked_in, draws=draws, changes=changes, independent=independent,
            exchangeable=exchangeable, reparameterised=None, minus_inf=share, mode_matters=matters,
            remarks=tuple(remarks),
        )  # fmt: skip
        # A model with a forward of its own need not make its log-weights of encode and log_joint.
        return self._of_parts(found) if type(self.model).forward is LatentModel.forward else found

    def _of_parts(self, found: Findings) -> Findings:
        """With what the proposal and log_joint say by themselves."""
        caller, derivative = self.caller, self._derivative()
        self._require_networks()
        shared, backward = self._shared()
        fixed_support, detached = self._density()
        remarks = as_posterior(self.model.encode(caller.x), caller.x)[1]
        return replace(
            found, draws=found.draws or backward, reparameterised=derivative.right, why_not=derivative.why, shared=shared,
            shared_inference=self._of_inference(shared), lacks=lacking(caller, self._fresh, self.eps),
            fixed_support=fixed_support, detached=detached, global_proposal=self._global(), idle=self.idle,
            remarks=(*found.remarks, *remarks),
        )  # fmt: skip

    def _fresh(self) -> None:
        """The model as it was before the trial."""
        self.snapshot.restore()

    def _purity(self) -> tuple[Values, tuple[str, ...], tuple[str, ...], list[str]]:
        """Values, generators drawn from with effect, state that changes without effect, and remarks."""
        caller, remarks = self.caller, []
        first, draws = caller.advanced_by(caller.x, caller.noise)
        self.drawn = draws
        before = digest(self.model)
        after = caller.plain(caller.other, caller.noise)
        again, later = caller.advanced_by(caller.x, caller.noise)
        if draws and not later:
            problem = f"initialises itself from the generators of {', '.join(draws)} at its first call"
            raise SpecError("model", problem, "call it once on a batch of its data, then measure")
        changes = differences(before, digest(self.model))
        self._fresh()
        others = caller.plain(caller.other, caller.noise)
        if self._apart(first, again) or self._apart(others, after):
            changes = changes or differences(before, digest(self.model))
            self._require_repeatable(first, changes)
            remarks.append(f"its values change with {listed(changes)}, which is put back before each draw")
        # An effect may be rare, as of a layer that is dropped now and then.
        if draws and not any(self._apart(first, caller.plain(caller.x, caller.noise, seed)) for seed in _SEEDS):
            draws = ()
        return first, draws, changes, remarks

    def _apart(self, one: Values, other: Values) -> bool:
        return distance(one, other) > _ROUNDINGS * self.eps

    def _require_repeatable(self, first: Values, changes: tuple[str, ...]) -> None:
        """In training mode a state that moves on is put back before each draw; elsewhere values must not change.

        Raises:
            CapabilityError: they do.
        """
        if self.mode == "training" and changes:
            self._fresh()
            if not self._apart(first, self.caller.plain(self.caller.x, self.caller.noise)):
                return
        problem = "the same call gives other values after another"
        if changes:
            remedy = "keep that constant while measuring, or set it from outside between training steps"
            raise CapabilityError("model", f"{problem}: {listed(changes)} changed in between", remedy)
        remedy = "draw from the noise argument, or from torch's global generator"
        raise CapabilityError("model", f"{problem}, from a private generator or a hidden counter", remedy)

    def _comparison(self) -> tuple[Callable[[Batch, Tensor], Values], str]:
        """How values are compared: in float64, or in the model's own type where it fixes that."""
        caller = self.caller

        def exact(x: Batch, noise: Tensor) -> Values:
            with torch.no_grad():
                return caller.exact(weights, caller.double, x, noise)

        def plain(x: Batch, noise: Tensor) -> Values:
            self._fresh()
            return caller.plain(x, noise)

        try:
            found = exact(caller.x, caller.noise)
        except Exception:  # the model's own code, on a type that it was not written for
            return plain, _name(caller.noise.dtype)
        return (exact, _EXACT) if found[0].dtype == torch.float64 else (plain, _name(caller.noise.dtype))

    def _couplings(self, compare: Callable[[Batch, Tensor], Values], checked_in: str) -> tuple[bool | None, bool]:
        """Whether data points are independent, and whether samples are."""
        caller, tolerance = self.caller, _SAME if checked_in == _EXACT else _ROUNDINGS * self.eps
        x, noise = caller.x, caller.noise
        together = compare(x, noise)

        def same(expected: Values, x: Batch, noise: Tensor, order: Callable[[Values], Values]) -> bool:
            try:
                found = compare(x, noise)
            except Exception:  # a batch normalisation of one point, for example
                return False
            return distance(expected, order(found)) <= tolerance

        def as_it_is(values: Values) -> Values:
            return values

        alone = tuple(value[:, :1, :1] for value in together)
        exchangeable = same(alone, x, noise[:, :1, :1], as_it_is) and same(
            together, x, noise.flip(1, 2), lambda values: tuple(value.flip(1, 2) for value in values)
        )
        if caller.points == 1:
            return None, exchangeable
        singles = [slice(i, i + 1) for i in range(caller.points)]
        more = torch.cat([noise, noise.flip(0)])[: points(caller.wide)]
        independent = (
            all(same(tuple(v[i] for v in together), take(x, i), noise[i], as_it_is) for i in singles)
            and same(together, reverse(x), noise.flip(0), flipped)
            # Some models couple points only if there are more than two.
            and same(together, caller.wide, more, lambda values: tuple(v[: caller.points] for v in values))
        )
        return independent and self.model.independent_points, exchangeable

    def _derivative(self) -> Derivative:
        posterior = self.model.proposal(self.caller.x)
        if getattr(posterior, "reparameterised", None) is False:
            return Derivative(False, getattr(posterior, "no_path", NO_PATH))
        self._fresh()
        try:
            return examine_derivative(self.caller)
        except Exception as error:  # the model's own code, in float64 or under a second derivative
            return Derivative(None, f"could not be tried ({type(error).__name__} in {_EXACT})")

    def _shared(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Parameters in both networks, and generators that are drawn from only where gradients are."""
        self._fresh()
        before = Generators()
        reached = self.model.reached(self.x)
        self.idle = not any(q or p for q, p in reached.values())
        shared = tuple(name for name, (q, p) in reached.items() if q and p)
        return shared, () if self.drawn else before.advanced()

    def _require_networks(self) -> None:
        """See to it that a user's own ``networks`` says of parameters to which network they belong."""
        if getattr(self.model.networks, "__func__", None) is LatentModel.networks:
            return
        self._fresh()
        try:
            found = self.model.networks(self.x)
        except CapabilityError:  # said where the networks are asked for
            return
        remedy = f"return a dict of parameter names to {' or '.join(repr(name) for name in NETWORKS)}"
        if not isinstance(found, Mapping):
            raise SpecError("networks", f"returned {type(found).__name__}", remedy)
        names = {shown(name) for name, _ in self.model.named_parameters()}
        for name, network in found.items():
            if name not in names:
                raise SpecError("networks", f"names {name!r}, and the model has no such parameter", remedy)
            if network not in NETWORKS:
                raise SpecError("networks", f"says {network!r} of '{name}'", remedy)

    def _of_inference(self, shared: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the parameters in both networks that count to the inference network; all where nobody says."""
        try:
            owners = self.model.networks(self.x) if shared else {}
        except CapabilityError:
            return shared
        return tuple(name for name in shared if owners.get(name) != "generative")

    def _density(self) -> tuple[bool, str]:
        """Whether the proposal's support is fixed, and what is wrong with its detached density."""
        self._fresh()
        fixed, detached = examine_detached(self.caller, 1000 * self.eps)
        if self.drawn:
            return fixed, detached
        self._fresh()
        try:
            own = examine_proposal(self.caller)
        except SnrkitError:
            raise
        except Exception:  # the model's own code, in float64
            own = ""
        return fixed, detached or own

    def _global(self) -> bool:
        """Whether the proposal is the same for every data point: autograd sees no way to it, and values are equal."""
        caller = self.caller
        if caller.points == 1 or _declares_independence(self.model):
            return False
        self._fresh()
        noise = caller.noise[:1].expand_as(caller.noise)
        x = transform(caller.x, lambda t: t.detach().clone().requires_grad_() if t.is_floating_point() else t)
        with torch.enable_grad():
            z, log_q = sample(self.model, x, noise)
            wanted = [tensor for tensor in leaves(x) if tensor.requires_grad]
            value = z.sum() + log_q.sum()
            if hides_parameters([value]):
                return False
            if wanted and value.requires_grad:
                found = torch.autograd.grad(value, wanted, allow_unused=True)
                if any(gradient is not None for gradient in found):
                    return False
        return torch.equal(z[0], z[1]) and torch.equal(log_q[0], log_q[1])

    def _mode_matters(self, values: Values) -> tuple[str, ...]:
        """Kinds of modules that make another mode give other values."""
        self._fresh()
        other: Mode = "training" if self.mode == "evaluation" else "evaluation"
        try:
            with in_mode(self.model, other):
                found = self.caller.plain(self.caller.x, self.caller.noise)
        except Exception:  # a batch normalisation may want more points, or statistics, in the other mode
            found = tuple(torch.full_like(value, torch.nan) for value in values)
        if not self._apart(values, found):
            return ()
        kinds = {type(module).__name__ for module in self.model.modules() if _knows_modes(module)}
        return tuple(sorted(kinds)) or ("the model's own code",)


def _declares_independence(model: LatentModel) -> bool:
    """Whether the user's own class says that data points are independent."""
    kinds = [kind for module in model.modules() for kind in type(module).__mro__ if kind is not LatentModel]
    return any(vars(kind).get("independent_points") is True for kind in kinds)


def _knows_modes(module: nn.Module) -> bool:
    known = nn.modules.dropout._DropoutNd | nn.modules.batchnorm._NormBase
    return isinstance(module, known) or bool(isinstance(module, nn.RNNBase) and module.dropout)


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")
