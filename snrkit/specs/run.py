"""Frozen, validated specification of a training run, and its TOML form."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from snrkit.errors import SpecError
from snrkit.specs.base import (
    Binarise,
    Count,
    DType,
    Positive,
    Precision,
    Scalar,
    Seed,
    Spec,
    digest_of,
    parse_toml,
    require_plain,
    short,
)
from snrkit.specs.fields import meant
from snrkit.specs.options import AnnealedOption, LearntOption, Option
from snrkit.specs.schema1 import told_apart, translated


class DataSpec(Spec):
    """Which data, and how grey values become binary pixels.

    Attributes:
        name: a registered source (``snrkit data list``).
        path: the file, for ``npz``; the folder or file, for ``idx`` and ``text``.
        binarise: ``dynamic`` (drawn afresh at each access), ``fixed`` (drawn once from ``seed``), ``threshold`` (grey
            value >= 0.5) or ``none``; left out: ``dynamic`` for images, ``none`` for all other data. Under ``dynamic``
            the test set too is drawn once, from ``seed``.
        seed: seed of the fixed binarisation, and of generated data.
        train_limit: use only the first so many training points.
        size: number of training points of the generated ``gaussian`` data.
        dim: dimension of the generated ``gaussian`` data.
        min_count: how often a word of ``sentences`` or ``text`` must be there to be in the vocabulary.
        max_words: longest sentence of ``sentences`` or ``text``, in words and marks; longer ones are left out.
        test_share: share of the distinct sentences of a ``text`` file that are its test set.
        tokens: how a line of ``text`` is taken apart: ``words`` and marks, in lower case, or as it stands at its ``spaces``.
    """

    name: str = "digits"
    path: str | None = None
    binarise: Binarise | None = None
    seed: Seed = 0
    train_limit: Positive | None = None
    size: Positive = 1024
    dim: Positive = 20
    min_count: Positive = 5
    max_words: Positive = 20
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    tokens: Literal["words", "spaces"] = "words"


class ModelSpec(Spec):
    """Which model, and its options (each model documents its own).

    Attributes:
        name: a registered model, or a class of a file of your own as FILE.py:CLASS, which only ``--model`` can name.
        options: its own settings; of a class of your own, the arguments that it is made with.
        path: the file of a class of your own; filled in.
        sha256: of that file, which has to be as it was for the run to be opened; filled in.
    """

    name: str = "mlp"
    options: dict[str, Scalar | list[int] | list[list[int]]] = {}
    path: str | None = None
    sha256: str | None = None


class EstimatorSpec(Spec):
    """Which gradient estimator, with M outer and K importance samples per data point.

    For ``piwae`` K is L: the inference network sees M groups of K, the generative network one group of M K.

    Attributes:
        name: a registered estimator.
        M: outer samples per data point.
        K: importance samples per outer sample.
        options: the estimator's own settings: each a number (``beta = 0.5``), a number for each stage of the ``burda``
            schedule, the last of which stays (``beta = [0.7, 0.2]``), or learnt (``beta = {learn = "bounded", start = 0.5,
            lr = 1e-3}``; ``free`` or ``bounded`` to the option's range, by an Adam of its own that follows the schedule), or
            annealed (``kl = {anneal = "linear", start = 0.0, stop = 1.0, until = 2000}``; ``linear`` or ``logistic``, until
            a step or, by ``until_epochs``, an epoch).
    """

    name: str = "iwae"
    M: Positive = 1
    K: Positive = 64
    options: dict[str, Option] = {}

    @property
    def changes(self) -> bool:
        """Whether an option is not the same from the first step to the last."""
        return any(isinstance(option, list | LearntOption | AnnealedOption) for option in self.options.values())

    def numbers(self) -> dict[str, float]:
        """The options that are given as one number: what they are, or where one that is learnt or annealed begins."""
        moving = LearntOption | AnnealedOption
        given = {name: o.start if isinstance(o, moving) else o for name, o in self.options.items()}
        return {name: value for name, value in given.items() if value is not None and not isinstance(value, list)}

    def in_steps(self, epoch: int) -> Self:
        """The same with annealed options until a step, of ``epoch`` steps to an epoch."""
        resolved = {name: o for name, o in self.options.items() if isinstance(o, AnnealedOption) and o.until is None}
        if not resolved:
            return self
        steps = {name: max(1, round((o.until_epochs or 0) * epoch)) for name, o in resolved.items()}
        found = {n: o.model_copy(update={"until": steps[n], "until_epochs": None}) for n, o in resolved.items()}
        return self.model_copy(update={"options": {**self.options, **found}})


class OptimiserSpec(Spec):
    """Adam and its learning rate over epochs.

    Attributes:
        schedule: ``constant``, or ``burda``: stage i = 0, 1, ... lasts 3^i epochs at ``lr`` 10^(-i/7) (Burda et al. 2016).
        lr: learning rate, or the first one of the schedule.
        betas: decay rates of the first and second moment.
        eps: added to the root of the second moment.
        clip: largest norm of the gradient of all parameters that take a step together, which is scaled down to it; left
            out: any (Pascanu, Mikolov & Bengio 2013, algorithm 1). Options that are learnt take steps of their own.
    """

    schedule: Literal["constant", "burda"] = "constant"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    eps: Annotated[float, Field(gt=0)] = 1e-8
    clip: Annotated[float, Field(gt=0)] | None = None


class UpdateSpec(Spec):
    """How the two networks take a step.

    Attributes:
        order: ``joint``: both gradients at the same parameters. ``encoder-first``, ``decoder-first``: one network moves,
            then the other from log-weights made afresh with it moved. ``random``: either of these, drawn at every step.
        samples: ``shared``: both networks see the same noise; ``separate``: each its own.
    """

    order: Literal["joint", "encoder-first", "decoder-first", "random"] = "joint"
    samples: Literal["shared", "separate"] = "shared"


# What a resumed run may change; and of an option with a value for each stage those that have not begun.
EXTENSIBLE = frozenset({"epochs", "checkpoint_every", "keep_every"})


class RunSpec(Spec):
    """Everything that determines a training run.

    Its parts ``data``, ``model``, ``estimator``, ``optimiser`` and ``update`` are mappings, or specifications, of what
    ``snrkit train --settings`` explains under these names.

    Attributes:
        epochs: passes over the training set; 0 saves the model as initialised.
        batch_size: data points per step; the last batch of an epoch may be smaller.
        seed: root of every random stream of the run.
        dtype: floating-point type of parameters and data.
        precision: of matrix products and convolutions of float32: ``float32``, or ``tf32``, for which CUDA devices round
            their factors to 10 bits and are faster. Measurements and evaluations of the run are made in float32 either way.
        checkpoint_every: epochs between checkpoints; the last epoch is always saved.
        keep_every: also keep a checkpoint of its own every so many epochs, under ``steps/`` (0: none).
        eval_points: test points on which the IWAE-64 bound is followed after each epoch (0: none).
    """

    data: DataSpec = DataSpec()
    model: ModelSpec = ModelSpec()
    estimator: EstimatorSpec = EstimatorSpec()
    optimiser: OptimiserSpec = OptimiserSpec()
    update: UpdateSpec = UpdateSpec()
    epochs: Count = 100
    batch_size: Positive = 20
    seed: Seed = 0
    dtype: DType = "float32"
    precision: Precision = "float32"
    checkpoint_every: Positive = 10
    keep_every: Count = 0
    eval_points: Count = 500

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _refusal(error) from error

    @model_validator(mode="before")
    @classmethod
    def _of_any_schema(cls, data: Any) -> Any:
        return translated(data)

    @model_validator(mode="after")
    def _rounds_what_is_there(self) -> Self:
        if self.precision == "tf32" and self.dtype != "float32":
            problem = f"tf32 is a way to multiply float32, and dtype is {self.dtype}"
            raise SpecError("precision", problem, "leave one of the two out")
        return self

    def identity(self) -> str:
        """Digest of what makes the run what it is: all but how long it goes on and what is kept of it."""
        return digest_of(told_apart(self, EXTENSIBLE))

    @classmethod
    def parse(cls, data: Mapping[str, Any], source: str) -> Self:
        """Validate a nested mapping.

        Args:
            data: as read from TOML.
            source: what to call it in an error message (a file name, "flags").

        Raises:
            SpecError: naming the first field at fault.
        """
        try:
            spec = cls.model_validate(data)
        except ValidationError as error:
            raise _refusal(error, source) from None
        require_plain(dict(data), source)
        return spec

    @classmethod
    def from_toml(cls, text: str, source: str) -> Self:
        """Read a spec from TOML text.

        Raises:
            SpecError: not TOML, or not a valid spec.
        """
        return cls.parse(parse_toml(text, source), source)


def _refusal(error: ValidationError, source: str = "") -> SpecError:
    """The first of what pydantic found, in our words, of settings from a source or (empty) from a call."""
    first = error.errors()[0]
    if isinstance(own := first.get("ctx", {}).get("error"), SpecError):
        if isinstance(own.__cause__, ValidationError):  # from a call within a call
            return _refusal(own.__cause__, source)
        return SpecError(own.argument, own.problem, own.remedy)
    # Which form an option was taken for stands in parentheses.
    field = ".".join(part for part in map(str, first["loc"]) if part[:1] != "(") or source or "spec"
    unknown = first["type"] == "extra_forbidden"
    problem = "no such setting" if unknown else f"{first['msg'].lower()}, got {short(first['input'])}"
    near = (meant(field, RunSpec) or "a model's own settings go under model.options; ") if unknown else ""
    where = f"correct it in {source}; see 'snrkit train --settings'" if source else "see help(snrkit.RunSpec)"
    return SpecError(field, problem, f"{near}{where}")
