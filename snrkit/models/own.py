"""A model of a user's own file, ``FILE.py:CLASS``: the file is run only where the caller names it.

A run that was trained with one records the file's name, the class and the file's SHA-256. Whoever opens the run names the
file again; unless it is as it was, it is not run.
"""

import functools
import hashlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from snrkit.backend.process import seeded
from snrkit.core.streams import Streams
from snrkit.errors import ModelError, SnrkitError, SpecError
from snrkit.files import read_bytes
from snrkit.interrupt import Interrupted
from snrkit.models import MODELS
from snrkit.models.adopt import as_latent_model
from snrkit.models.base import LatentModel
from snrkit.models.naming import is_own
from snrkit.models.summary import DataSummary
from snrkit.registry import hint
from snrkit.specs.run import ModelSpec

# Characters of a message of the user's code.
_LONGEST = 200
_FORM = "write FILE.py:CLASS, for example vae.py:MyVAE"
_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class OwnModel:
    """A file of a user's own and what makes a model in it; nothing of it has been run.

    Attributes:
        path: the file, from any directory.
        maker: name of the class, or of a function, that makes the model.
        source: the file's bytes.
    """

    path: Path
    maker: str
    source: bytes

    @classmethod
    def at(cls, place: str) -> "OwnModel":
        """What ``FILE.py:CLASS`` names.

        Raises:
            SpecError: it is not of that form, or there is no such file.
        """
        name, _, maker = place.rpartition(":")
        path = Path(name)
        if not maker.isidentifier() or path.suffix != ".py":
            raise SpecError("model", f"'{place}' names no class of a file", _FORM)
        if not path.is_file():
            near = hint(path.name, (other.name for other in path.parent.glob("*.py")) if path.parent.is_dir() else ())
            raise SpecError("model", f"there is no file '{name}'", f"{near}{_FORM}")
        try:
            return cls(path.absolute(), maker, read_bytes(path))
        except OSError as error:
            raise SpecError("model", f"'{name}' cannot be read ({error.strerror})", "make it readable") from None

    @property
    def name(self) -> str:
        """What the model is called: the file's name and the class."""
        return f"{self.path.name}:{self.maker}"

    @property
    def sha256(self) -> str:
        """Of the file."""
        return hashlib.sha256(self.source).hexdigest()

    def specified(self, options: Mapping[str, Any]) -> ModelSpec:
        """The specification that records it."""
        return ModelSpec(name=self.name, options=dict(options), path=str(self.path), sha256=self.sha256)

    def require(self, options: Mapping[str, Any]) -> Callable[..., Any]:
        """The class, seen to take options; the file is run, once in a process.

        Raises:
            ModelError: the file raises.
            SpecError: there is no such class, or it wants other options.
        """
        make = self._found(_run(self.path, self.source))
        _require_arguments(self.maker, make, options)
        return make

    def build(self, options: Mapping[str, Any], data: DataSummary, streams: Streams) -> LatentModel:  # noqa: ARG002
        """The model that the class makes of options; the file is run, once in a process.

        Raises:
            ModelError: the file, or the class, raises.
            SpecError: there is no such class, it wants other options, or what it makes cannot be measured.
        """
        make = self.require(options)
        with _users_file(self.path, f"{self.maker}(...)"):
            made = make(**options)
        if isinstance(made, nn.Module) and any(parameter.is_meta for parameter in made.parameters()):
            return made  # type: ignore[return-value]  # a sketch, whose sizes alone are looked at
        return as_latent_model(made)

    def _found(self, module: ModuleType) -> Callable[..., Any]:
        found = getattr(module, self.maker, None)
        if callable(found) and not isinstance(found, nn.Module):
            return found  # type: ignore[no-any-return]
        if found is not None:
            kind = type(found).__name__
            raise SpecError("model", f"{self.name} is a {kind}", "name a class, or a function that returns a model")
        own = [name for name, value in vars(module).items() if _is_maker(value, module)]
        known = f"{hint(self.maker, own)}there are: {', '.join(own) or 'none'}"
        raise SpecError("model", f"{self.path.name} has no '{self.maker}'", known)


def named(spec: ModelSpec, given: str | None) -> ModelSpec:
    """A specification with the model that a caller names put over its own; None leaves it as it is.

    Raises:
        SpecError: no such file.
    """
    if given is None:
        return spec
    if is_own(given):
        return OwnModel.at(given).specified(spec.options)
    return spec.model_copy(update={"name": given, "path": None, "sha256": None})


@contextmanager
def lending(spec: ModelSpec, given: str | None) -> Iterator[None]:
    """Within the block the model of a specification can be built, if it is registered or is the one that a caller names.

    Args:
        spec: as a run records it.
        given: ``FILE.py:CLASS``, or a registered name; None: the caller names none.

    Raises:
        SpecError: the specification's model is another one, a file that is not as it was, or a file that nobody named.
    """
    if given is None or not is_own(given):
        _require_registered(spec, given)
        yield
        return
    own = OwnModel.at(given)
    if not is_own(spec.name):
        raise SpecError("model", f"the run has the model {spec.name}, not one of '{given}'", "leave it out")
    maker = spec.name.rpartition(":")[2]
    if own.maker != maker:
        raise SpecError("model", f"the run was trained with {maker}, not {own.maker}", f"name {own.path}:{maker}")
    if spec.sha256 not in (None, own.sha256):
        problem = f"'{own.path}' is not as it was when the run was trained, so it is not run"
        raise SpecError("model", problem, "put the file back as it was, or train anew")
    with MODELS.lent(spec.name, own.build):
        yield


@contextmanager
def lending_all(specs: Iterable[ModelSpec], given: str | None) -> Iterator[None]:
    """The same for the specifications of several runs, each of which the class is seen to take.

    Raises:
        SpecError: as for ``lending`` and ``OwnModel.require``, of the first that is at fault.
        ModelError: the file raises.
    """
    specs = list(specs)
    with ExitStack() as lent:
        for spec in {(spec.name, spec.sha256): spec for spec in specs}.values():
            lent.enter_context(lending(spec, given))
        if given is not None and is_own(given):
            own = OwnModel.at(given)
            for spec in specs:
                own.require(spec.options)
        yield


def _require_registered(spec: ModelSpec, given: str | None) -> None:
    if given is not None and given != spec.name:
        raise SpecError("model", f"the run has the model {spec.name}, not {given}", "leave it out")
    if is_own(spec.name):
        name, maker = spec.name.split(":")
        place = spec.path or name
        problem = f"{maker} is of {name}, a file of your own, which is run only where you name it"
        raise SpecError("model", problem, f"{_state(spec)}add `model={place}:{maker}`")


def _state(spec: ModelSpec) -> str:
    """What has become of the file since, in a phrase."""
    path = Path(spec.path or "")
    try:
        now = hashlib.sha256(read_bytes(path)).hexdigest()
    except OSError:
        return f"'{path}' is not there any more, so find it, and "
    return "" if now == spec.sha256 else "it has changed since, so put it back as it was, and "


def _require_arguments(name: str, make: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """See to it that a class can be called with options.

    Raises:
        SpecError: it lacks some, or has none of that name.
    """
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):  # of what is not written in Python nothing is known
        return
    own = {key: p for key, p in signature.parameters.items() if p.kind in _KINDS}
    anything = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())
    odd = next((key for key in options if key not in own and not anything), None)
    known = f"{name} takes {', '.join(str(p) for p in own.values()) or 'none'}"
    if odd is not None:
        raise SpecError(f"model.options.{odd}", "no such option", f"{hint(odd, own)}{known}")
    missing = [key for key, p in own.items() if p.default is p.empty and key not in options]
    if missing:
        remedy = f"give it, for example `model.options.{missing[0]}=20`; {known}"
        raise SpecError("model", f"{name} needs {' and '.join(missing)}", remedy)


def _is_maker(value: Any, module: ModuleType) -> bool:
    own = getattr(value, "__module__", None) == module.__name__
    return own and ((inspect.isclass(value) and issubclass(value, nn.Module)) or inspect.isfunction(value))


@functools.lru_cache(maxsize=8)
def _run(path: Path, source: bytes) -> ModuleType:
    """The module that a file makes, as ``python FILE.py`` finds its neighbours, but not as the main program."""
    module = ModuleType(f"_snrkit_own_{path.stem}_{hashlib.sha256(source).hexdigest()[:10]}")
    module.__file__ = str(path)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    sys.modules[module.__name__] = module  # dataclasses and pickle look there
    # It is run once, whichever model is made first: that model's seed and device are nothing to it.
    try:
        with seeded(0), _users_file(path, "being run"), torch.device("cpu"):
            exec(compile(source, str(path), "exec"), vars(module))
    except BaseException:
        del sys.modules[module.__name__]
        raise
    return module


@contextmanager
def _users_file(path: Path, during: str) -> Iterator[None]:
    """Within the block a user's file runs: what it raises comes out as ``ModelError`` with the line of the file."""
    try:
        yield
    except (SnrkitError, Interrupted, KeyboardInterrupt, MemoryError):
        raise
    except SystemExit as error:
        problem = f"{path.name} ends the program in {during}"
        raise ModelError("model", problem, 'put what is a script under: if __name__ == "__main__"') from error
    except Exception as error:
        problem = f"{path.name} fails in {during}, {_where(error, path)}: {_said(error)}"
        raise ModelError("model", problem, "correct the file") from error


def _where(error: Exception, path: Path) -> str:
    """The line of the user's file that raised, as it stands there."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"line {error.lineno} `{(error.text or '').strip()}`"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"line {frames[-1].lineno} `{frames[-1].line}`" if frames else "in a library"


def _said(error: Exception) -> str:
    lines = (error.msg if isinstance(error, SyntaxError) else str(error)).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:_LONGEST] if lines else 'no message'}"
