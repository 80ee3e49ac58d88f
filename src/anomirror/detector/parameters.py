"""Parameters of a detector, each declared once: a field with type, range, default and docstring.

    @declared
    class Mine(NetworkDetector):
        width: Count = 16
        '''Channels of the first convolution.'''

        epochs = 4  # another default for a parameter that a base class declares

        centre_: Tensor = fitted()
        '''Mean code of the normal images.'''

The decorator makes the keyword-only constructor and the sections "Parameters" and "Attributes" of
the class's docstring; validation, storage and the command line read the same declarations.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
import sys
import textwrap
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cached_property, lru_cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np
from annotated_types import MaxLen, MinLen
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from anomirror.errors import SettingError

Arguments = dict[str, Any]
"""Keyword arguments of a detector: values of many types, which its ``fit`` checks."""

# ---------------------------------------------------------------- ranges


def within(interval: str) -> Any:
    """Constraint of a number, from an interval such as ``"(0, 0.5]"`` or ``"[1, inf)"``.

    >>> words(Annotated[float, within("(0, 0.5]")]), words(Annotated[int, within("[1, inf)")])
    ('a number in (0, 0.5]', 'an integer of at least 1')
    """
    low, high = (float(end) for end in interval[1:-1].split(","))
    above, below = interval[0] == "(", interval[-1] == ")"
    text = f"in {interval}"
    if math.isinf(high):
        text = f"above {low:g}" if above else f"of at least {low:g}"
    return Field(
        gt=low if above else None,
        ge=None if above else low,
        lt=high if below and math.isfinite(high) else None,
        le=None if below else high,
        description=text,
    )


Count = Annotated[int, within("[1, inf)")]
CountOrZero = Annotated[int, within("[0, inf)")]
SampleSize = Annotated[int, within("[2, inf)")]
Seed = Annotated[int, within("[0, 4294967295]")]
Weight = Annotated[float, within("[0, inf)"), Field(allow_inf_nan=False)]
Rate = Annotated[float, within("(0, inf)"), Field(allow_inf_nan=False)]
Fraction = Annotated[float, within("[0, 1]")]
OpenFraction = Annotated[float, within("(0, 1)")]
Probability = Annotated[float, within("[0, 1)")]
"""Of dropping a value: 1 would leave nothing."""
Milestones = Sequence[OpenFraction]
Betas = Annotated[Sequence[Annotated[float, within("[0, 1)")]], Field(min_length=2, max_length=2)]
"""A ``Sequence``, since JSON gives lists where Python has pairs."""


class Mark(Enum):
    """What else may be said of a parameter, in its ``Annotated`` type."""

    SCORING = "may change after a fit: the formula of the raw score alone depends on it"
    MEASURING = "may change after a fit, but then statistics are to be measured again"
    DECIDING = "may change after a fit: the threshold alone depends on it"
    UNSTORED = "is not written to the model: it decides no result, or belongs to one machine"


SCORING, MEASURING, DECIDING, UNSTORED = Mark

# ---------------------------------------------------------------- declaring

_T = TypeVar("_T")


def fitted(*, default: object = dataclasses.MISSING, init: Literal[False] = False) -> Any:
    """An attribute that ``fit`` sets.

    No parameter, and absent before a fit unless it has a default.
    """
    return dataclasses.field(default=default, init=init)


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(fitted,))
def declared(cls: type[_T]) -> type[_T]:
    """Class decorator: a keyword-only constructor from the annotated fields of a detector.

    A plain assignment to a name that a base class declares changes its default alone, and its
    docstring where one stands below it.
    """
    own = inspect.get_annotations(cls)
    for name, parameter in _inherited(cls).items():
        if name in vars(cls) and name not in own:
            cls.__annotations__[name] = parameter.hint
    made = dataclasses.dataclass(kw_only=True, eq=False, repr=False)(cls)
    made.__doc__ = _documented(made)
    vars(made)["__init__"].__annotations__ = _plain_types(made)
    return made


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One declared parameter."""

    name: str
    hint: Any
    default: object
    doc: str

    @property
    def marks(self) -> frozenset[Mark]:
        """Everything that is said of it next to its type and range."""
        return frozenset(mark for mark in _metadata(self.hint) if isinstance(mark, Mark))

    def check(self, value: object) -> None:
        """Refuse a value of another type or out of range.

        Raises
        ------
        SettingError : names the value and what was expected.
        """
        plain = value.item() if isinstance(value, np.generic) else value
        try:
            self._adapter.validate_python(plain, strict=True)
        except ValidationError as error:
            raise SettingError(f"{self.name}={value!r}: expected {words(self.hint)}") from error

    @cached_property
    def _adapter(self) -> TypeAdapter[object]:
        return TypeAdapter(self.hint, config=ConfigDict(arbitrary_types_allowed=True))


@lru_cache(maxsize=128)
def parameters_of(cls: type) -> dict[str, Parameter]:
    """Parameters of a declared class by name, its own before those of its base classes."""
    hints, docs = _hints(cls, include_extras=True), _docs(cls)
    parameters = {
        field.name: Parameter(
            field.name, hints[field.name], field.default, docs.get(field.name, "")
        )
        for field in dataclasses.fields(cls)
        if field.init
    }
    inherited = _inherited(cls)
    own = [name for name in parameters if name not in inherited]
    return {name: parameters[name] for name in [*own, *inherited]}


def _hints(cls: type, *, include_extras: bool) -> dict[str, object]:
    known = {base.__name__: base for base in cls.__mro__}  # a class may name itself
    return get_type_hints(cls, localns=known, include_extras=include_extras)


def _plain_types(cls: type) -> dict[str, object]:
    """Types for the constructor's signature, as a person reads them: without ranges and marks."""
    hints = _hints(cls, include_extras=False)
    return {**{name: hints[name] for name in parameters_of(cls)}, "return": None}


def marked(cls: type, *marks: Mark) -> frozenset[str]:
    """Names of the parameters that carry one of the marks."""
    return frozenset(name for name, p in parameters_of(cls).items() if p.marks.intersection(marks))


def check(instance: object) -> None:
    """Validate every parameter of an instance by itself.

    Raises
    ------
    SettingError : the first parameter that is out of range, or of another type.
    """
    cls: type = type(instance)
    for name, parameter in parameters_of(cls).items():
        parameter.check(getattr(instance, name))


def first_difference(found: Mapping[str, object], wanted: Mapping[str, object]) -> str | None:
    """Name of a parameter that two sets of them do not share; None if they are equal.

    >>> first_difference({"a": 1, "b": 2}, {"a": 1, "b": 3}), first_difference({}, {})
    ('b', None)
    """
    names = sorted(wanted.keys() | found.keys())
    return next((name for name in names if wanted.get(name) != found.get(name)), None)


def _inherited(cls: type) -> dict[str, Parameter]:
    inherited: dict[str, Parameter] = {}
    for base in reversed(cls.__bases__):
        if dataclasses.is_dataclass(base):
            inherited |= parameters_of(base)
    return inherited


# ---------------------------------------------------------------- words


def words(hint: object) -> str:
    """What a type accepts, for an error or a list of parameters.

    >>> words(Count | None), words(Betas), words(Literal["a", "b"])
    ('an integer of at least 1 or None', '2 values, each a number in [0, 1)', "'a' or 'b'")
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _annotated_words(arguments[0], arguments[1:])
    if origin in (Union, UnionType):
        return _either([words(each) for each in arguments])
    if origin is Literal:
        return _either([repr(each) for each in arguments])
    if origin is not None and issubclass(origin, Sequence):
        return f"values, each {words(arguments[0])}"
    return _PLAIN.get(hint) or _named(origin or hint)


_PLAIN: dict[object, str] = {
    int: "an integer",
    float: "a number",
    bool: "True or False",
    str: "a string",
    NoneType: "None",
}


def _named(kind: object) -> str:
    name = getattr(kind, "__name__", str(kind))
    return {"Callable": "a function", "PathLike": "a path"}.get(name, f"a {name}")


def _annotated_words(inner: object, metadata: Sequence[object]) -> str:
    info = [each for each in metadata if isinstance(each, FieldInfo)]
    text = " ".join([words(inner), *(each.description for each in info if each.description)])
    limits = [limit for each in info for limit in each.metadata]
    least = next((limit.min_length for limit in limits if isinstance(limit, MinLen)), None)
    most = next((limit.max_length for limit in limits if isinstance(limit, MaxLen)), None)
    if least is None or most is None:
        return text
    return f"{least} {text}" if least == most else f"{least} to {most} {text}"


def _either(choices: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(choices))
    return " or ".join([", ".join(distinct[:-1]), distinct[-1]]) if distinct[1:] else distinct[0]


def _metadata(hint: object) -> tuple[object, ...]:
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()


# ---------------------------------------------------------------- docstrings


@lru_cache(maxsize=128)
def _docs(cls: type) -> dict[str, str]:
    """The docstring under each field of a class and its bases; none without the source."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if "__dataclass_fields__" in vars(base):
            docs |= _own_docs(base)
    return docs


@lru_cache(maxsize=128)
def _own_docs(cls: type) -> dict[str, str]:
    docs: dict[str, str] = {}
    for field, below in pairwise(_definition(cls)):
        if not isinstance(field, ast.AnnAssign | ast.Assign) or not isinstance(below, ast.Expr):
            continue
        target = field.target if isinstance(field, ast.AnnAssign) else field.targets[0]
        if isinstance(target, ast.Name) and isinstance(below.value, ast.Constant):
            docs[target.id] = inspect.cleandoc(str(below.value.value))
    return docs


def _definition(cls: type) -> list[ast.stmt]:
    """Statements of a class; none without the source."""
    try:
        if "<locals>" in cls.__qualname__:
            return getattr(ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0], "body", [])
        return _classes(cls.__module__).get(cls.__name__, [])
    except (OSError, TypeError, SyntaxError, KeyError):
        return []


@lru_cache(maxsize=1)
def _classes(module: str) -> dict[str, list[ast.stmt]]:
    """Statements of every class of a module, which is parsed once for all of its classes in a
    row.
    """
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)}


def _documented(cls: type) -> str:
    """The class's docstring with its parameters and fitted attributes after the summary."""
    docs = _docs(cls)
    parameters = [
        _entry(p.name, f"{words(p.hint)}, default {p.default!r}", p.doc)
        for p in parameters_of(cls).values()
    ]
    attributes = [
        _entry(field.name, "", docs[field.name])
        for field in dataclasses.fields(cls)
        if not field.init and field.name in docs and not field.name.startswith("_")
    ]
    parts = inspect.cleandoc(vars(cls).get("__doc__") or "").split("\n\n")
    rest = next((i for i, part in enumerate(parts) if "\n---" in part), len(parts))
    sections = [
        "\n".join([title, "-" * len(title), *entries])
        for title, entries in (("Parameters", parameters), ("Attributes", attributes))
        if entries
    ]
    return "\n\n".join([*parts[:rest], *sections, *parts[rest:]])


def _entry(name: str, kind: str, doc: str) -> str:
    head = f"{name} : {kind}" if kind else name
    return "\n".join([head, textwrap.indent(doc, "    ")]) if doc else head
