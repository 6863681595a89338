"""Frozen, validated specification of a measurement, and its TOML form. No torch here.

[measure]                         # what: as the flags of ``snrkit snr``, by their Python names
K = [1, 10, 100]
estimators = ["iwae", {name = "ciwae", options = {beta = 0.5}}]
draws = 1000

[execution]                       # how: changes speed and the last bits only
engine = "factors"

The same tables in a file of ``snrkit train`` or ``snrkit sweep`` say what is measured as the runs go on.
"""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo

from snrkit.errors import SpecError
from snrkit.specs.base import Mode, Positive, Seed, Spec, short
from snrkit.specs.fields import allowed, keys, meant
from snrkit.specs.given import LARGEST, counts, is_empty, is_flag, must_be, names, plain
from snrkit.specs.run import RunSpec

Target = Literal["none", "bound", "log_p"]
# In the place of a root of the noise: that of the run's training, of each run its own.
OWN: Final = "own"
Root = int | Literal["own"]


def _counts(value: object, info: ValidationInfo) -> tuple[int, ...]:
    return counts(str(info.field_name), value)


def _names(value: object, info: ValidationInfo) -> tuple[str, ...] | None:
    return None if value is None else names(str(info.field_name), value)


def _names_or_none(value: object) -> tuple[str, ...]:
    return () if is_empty(value) else names("keep", value)


def _unless_auto(value: object) -> object:
    return None if isinstance(value, str) and value == "auto" else value


def _plain(value: object) -> int:
    number = plain(value)
    if number is None:
        raise ValueError
    return number


def _root(value: object) -> object:
    if isinstance(value, str) and value == OWN:
        return value
    number = _plain(value)
    if not 0 <= number <= LARGEST:
        raise ValueError
    return number


def _flag(value: object, info: ValidationInfo) -> bool:
    if not is_flag(value):
        raise SpecError(str(info.field_name), f"must be True or False, got {short(value)}", "leave it out for False")
    return bool(value)


Counts = Annotated[tuple[Positive, ...], BeforeValidator(_counts)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Whole = BeforeValidator(_plain)
Draws = Annotated[int, Field(ge=4, lt=2**63), Whole]
OneRoot = Annotated[Seed, Whole]
OwnRoot = Annotated[Seed | Literal["own"], Field(json_schema_extra={"word": OWN}), BeforeValidator(_root)]


class Told(Spec):
    """A spec that Python callers make by themselves: what is wrong with it is told in one sentence."""

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _refusal(error, type(self)) from None

    def replaced(self, **changes: Any) -> Self:
        """The same with other values of some fields, checked again.

        Raises:
            SpecError: one of them cannot be.
        """
        return type(self)(**{**dict(self), **changes})


def _refusal(error: ValidationError, spec: type[Spec]) -> SpecError:
    """The first of what pydantic found, in our words."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    told = first.get("ctx", {}).get("error")
    if isinstance(told, SpecError):
        inner = told.argument if field in ("", told.argument) else f"{field}.{told.argument}"
        return SpecError(inner, told.problem, told.remedy)
    if first["type"] == "extra_forbidden":
        near = meant(field, spec).rstrip()
        return SpecError(field, "no such setting", near or f"choose from {', '.join(keys(spec))}")
    if first["type"] == "model_type":
        return SpecError(field, f"is no table, got {short(first['input'])}", f"write [{field}] above its settings")
    known = spec.model_fields.get(str(first["loc"][0]))
    least = None if known is None else allowed(known).get("minimum")
    if least is None:
        problem = first["msg"].lower().replace("input should be", "must be", 1)
    else:
        problem = must_be(least, plain(first["input"]))
    default = None if known is None or known.is_required() else known.default
    remedy = "leave it out for the default" if default is None else f"leave it out for {default!r}"
    word = None if known is None else allowed(known).get("word")
    remedy += f", or write {word!r}" if word else ""
    return SpecError(field, f"{problem}, got {short(first['input'])}", remedy)


class Choice(Spec):
    """An estimator by name.

    Attributes:
        name: a registered name.
        options: the estimator's own settings.
    """

    name: str
    options: dict[str, float] = {}


def _choices(value: object) -> object:
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list | tuple):
        return tuple(_worded(item) if isinstance(item, str) else item for item in value)
    return value


def _worded(text: str) -> dict[str, Any]:
    """``jvi dreg=1`` as the table that it stands for, as ``mean_from`` has it."""
    name, *rest = text.split() or [text]
    try:
        options = {key: float(number) for key, _, number in (part.partition("=") for part in rest)}
    except ValueError:
        raise SpecError(
            "estimators", f"cannot read the options of {short(text)}", "write for example 'jvi dreg=1'"
        ) from None
    return {"name": name, "options": options}


class What(Told):
    """What is asked about each estimator.

    Attributes:
        K: importance samples, each at least 1.
        M: outer samples, each at least 1; more cost no draws.
        draws: gradient draws R per setting; with ``nested``, at the largest K.
        seed: root of the noise; ``own``: each run's own seed, so that runs of different seeds share no draws.
        blocks: of the rows: ``inference``, ``generative``, ``all`` or names of tensors; left out: every one.
        bias: target of the bias: ``none``; ``bound``, the gradient of the estimator's own bound; ``log_p``, that of
            log p(x) in the generative network, exact where the model has ``log_marginal``, else estimated at ``K_ref``.
        K_ref: importance samples of the estimated ``log_p`` target.
        metrics: names of those to measure; left out: every one that takes no second pass over the draws.
        dsnr: also measure the DSNR, which takes a second pass over the draws.
        mean_from: take E[g] from draws of this estimator (of lower variance, such as ``dreg`` or, with options, ``jvi
            dreg=1``) wherever it has the same mean.
        nested: the samples of the largest K, in disjoint groups, serve the smaller K: more draws, more time.
        keep: coordinates whose draws are kept: ``largest`` (|mean|), ``median`` (SNR) of each network, or
            ``TENSOR[INDEX]``.
        mode: of the model's modules: ``evaluation``, or ``training``, in which dropout and batch normalisation do what they
            do in an optimiser's step.
        direct: draw the minibatch gradient at each (M, K) itself instead of using the algebra of units.
        samples: whether both networks see the same samples (``shared``), or the inference network others (``separate``), as
            ``update.samples`` says of training; there is no block of both networks then.
    """

    K: Counts = (1, 10, 100, 1000)
    M: Counts = (1,)
    draws: Draws = 1000
    seed: OwnRoot = 0
    blocks: Annotated[tuple[str, ...] | None, BeforeValidator(_names)] = None
    bias: Target = "none"
    K_ref: Annotated[Positive, Whole] = 5000
    metrics: Annotated[tuple[str, ...] | None, BeforeValidator(_names)] = None
    dsnr: Flag = False
    mean_from: str | None = None
    nested: Flag = False
    keep: Annotated[tuple[str, ...], BeforeValidator(_names_or_none)] = ()
    mode: Mode = "evaluation"
    direct: Flag = False
    samples: Literal["shared", "separate"] = "shared"


class MeasureSpec(What):
    """What to measure of a run.

    It has ``K``, ``M``, ``draws``, ``seed``, ``blocks``, ``bias``, ``K_ref``, ``metrics``, ``dsnr``, ``mean_from``,
    ``nested``, ``keep``, ``mode``, ``direct`` and ``samples`` too, which ``snrkit snr --settings`` explains.

    Attributes:
        estimators: registered names, with options such as ``jvi dreg=1`` or as tables; none: the run's own. All see the same
            noise.
        data_points: the first so many test points.
    """

    estimators: Annotated[tuple[Choice, ...], BeforeValidator(_choices)] = ()
    data_points: Annotated[Positive, Whole] = 10

    def of(self, run: RunSpec) -> Self:
        """The same of one run, on noise from its own seed where that is asked for."""
        return self.model_copy(update={"seed": root(self.seed, run)})


class WatchSpec(MeasureSpec):
    """What to measure of a run while it is trained.

    Attributes:
        every: measure after every so many epochs (a table ``[measure]`` without it: once, after the last).
        seed: root of the noise; left out: the run's own, which can be asked for as ``own``, too.
    """

    every: Annotated[Positive, Whole] | None = None
    K: Counts = (1, 10, 100)
    draws: Draws = 200
    seed: OwnRoot = OWN


def root(seed: Root, run: RunSpec) -> int:
    """The root of the noise of what is made of a run."""
    return run.seed if isinstance(seed, str) and seed == OWN else seed


class NoiseSpec(Told):
    """What is drawn at random of one run.

    Attributes:
        seed: root of the noise.
    """

    seed: OneRoot = 0


class Execution(Told):
    """How to measure, which changes speed and the last bits only.

    Attributes:
        engine: what draws: ``factors`` (fast for linear layers, leaves the rest to the others), ``vmap`` or ``loop``.
        chunk: draws in one pass; left out, or ``auto``: shapes decide.
        threads: of the processor, of each worker where there are several; left out: 1 of a worker, else as torch decides.
    """

    engine: str = "factors"
    chunk: Annotated[
        Annotated[Positive, Whole] | None, Field(json_schema_extra={"word": "auto"}), BeforeValidator(_unless_auto)
    ] = None
    threads: Annotated[int, Field(ge=1, le=1024), Whole] | None = None


class MeasureFile(Told):
    """A measurement as written down: beside its result, or for ``snrkit snr --config``.

    Attributes:
        measure: what.
        execution: how.
    """

    measure: MeasureSpec = MeasureSpec()
    execution: Execution = Execution()


class WatchFile(Told):
    """What a file of settings of training says of measurements.

    Attributes:
        measure: what, and when.
        execution: how.
    """

    measure: WatchSpec
    execution: Execution = Execution()

    @classmethod
    def taken(cls, data: dict[str, Any]) -> Self | None:
        """Taken out of the settings of a run or a sweep, as read from TOML; None where they say nothing of measurements.

        Raises:
            SpecError: a setting that cannot be, or how without what.
        """
        tables = {name: data.pop(name) for name in cls.model_fields if name in data}
        if tables and "measure" not in tables:
            raise SpecError("execution", "says how to measure, and nothing is measured", "add a table [measure]")
        return cls(**tables) if tables else None
