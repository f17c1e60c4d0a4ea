"""Runs described in TOML: what may stand in a file, checked before anything is computed."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError, field_validator

CASES = files("analyses") / "cases"
FULL = "full"
TIMES = 25


class UsageError(ValueError):
    """Something in the command or in a TOML file that the user must change."""


class Section(BaseModel):
    """A name and the options of what it names; the options are checked where the name is looked up."""

    model_config = ConfigDict(extra="allow")
    name: str

    @property
    def options(self) -> dict[str, object]:
        """Everything but the name."""
        return dict(self.model_extra or {})


class PointsSection(BaseModel):
    """Collocation points; absent numbers are the problem's defaults.

    `method` of a box "lhs" or "grid", of a region "random", of both "nodes": for these `interior` is the number of
    nodes, those on the boundary included, `times` the times that each is repeated at (a number of equispaced ones, or
    the times themselves), and `ghost_layers` the ghost nodes a boundary node.
    """

    model_config = ConfigDict(extra="forbid")
    interior: PositiveInt | None = None
    boundary: PositiveInt | None = None
    initial: PositiveInt | None = None
    method: Literal["lhs", "grid", "nodes", "random"] | None = None
    times: int | list[float] | None = None
    ghost_layers: NonNegativeInt | None = None

    @field_validator("times", mode="before")
    @classmethod
    def _times(cls, value: object) -> object:
        if value is None or (type(value) is int and value >= 2):
            return value
        numbers = isinstance(value, list) and all(type(each) in (int, float) for each in value)
        if numbers and len(value) >= 2:
            return value
        raise ValueError("expected a number of times, 2 or more, or a list of increasing times")


class AttentionSection(BaseModel):
    """Residual-based attention in the loss: the options of `ResidualBasedAttention`."""

    # Strict: `inside = "no"` is a mistake, not false.
    model_config = ConfigDict(extra="forbid", strict=True)
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.999
    eta: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.001
    inside: bool = True
    initialisation: Literal[1, 2] = 1
    normalize: Literal["max", "minmax"] = "max"
    vector: Literal["sum", "norm"] = "sum"


class TrainingSection(BaseModel):
    """Length of the training and what is measured in it.

    `blocks` of the gradient statistics (1: none); `every` steps between measurements (None: evenly in log time); rows
    of the `spectra`, points of the raw `activations`, steps of each branch of `lr_cut` (None: none of these).
    """

    # Strict: `lr_cut = true` is a mistake, not branches of one step.
    model_config = ConfigDict(extra="forbid", strict=True)
    steps: PositiveInt
    blocks: PositiveInt = 8
    every: PositiveInt | None = None
    spectra: PositiveInt | None = None
    activations: PositiveInt | None = None
    lr_cut: PositiveInt | None = None


class LeastSquaresSection(BaseModel):
    """How the outer coefficients of random features are found; absent values are those of `solve_least_squares`."""

    model_config = ConfigDict(extra="forbid")
    method: Literal["svd", "qr", "tikhonov"] = "svd"
    rcond: Annotated[float, Field(ge=0, lt=1)] | None = None
    weights: Literal["balanced"] | dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None = None
    iterations: PositiveInt = 50


class RunConfig(BaseModel):
    """One run. With `random-features` or `local-features` it is a least-squares solve, otherwise a training.

    `weights` holds factors of conditions in the loss, by name; a least-squares solve has its own in [least_squares].
    """

    model_config = ConfigDict(extra="forbid")
    title: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    dtype: Literal["float32", "float64"] = "float64"
    device: str = "cpu"
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    problem: Section
    network: Section
    operator: Section = Section(name="autodiff")
    points: PointsSection = PointsSection()
    weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    optimizer: Section | None = None
    attention: AttentionSection | None = None
    training: TrainingSection | None = None
    least_squares: LeastSquaresSection | None = None

    def override(self, *, steps: int | None = None, operator: str | None = None, **values: object) -> RunConfig:
        """Return the configuration with what the command line says instead; None leaves the case's value.

        Args:
            steps: of the training.
            operator: by name, with its default options unless the case names it too; "rbf-fd" takes as many nodes as
                there were interior points, spread over 25 times where the case has initial ones. The title says so,
                since many name the case's own.
            **values: seed, device, dtype, threads.

        Returns:
            A new, checked configuration.

        Raises:
            UsageError: a value that is not allowed, or steps for a run without training.
        """
        changed = self.model_dump() | {name: value for name, value in values.items() if value is not None}
        if steps is not None:
            if self.training is None:
                raise UsageError("--steps has no meaning for a least-squares solve: leave it out")
            changed["training"] = {**changed["training"], "steps": steps}
        if operator is not None and operator != self.operator.name:
            changed["operator"] = {"name": operator}
            changed["title"] = self.title and f"{self.title}; {operator} instead"
            if operator == "rbf-fd" and self.points.method != "nodes":
                changed["points"] = self._nodes()
        try:
            return RunConfig.model_validate(changed)
        except ValidationError as error:
            raise UsageError(f"command line: {_first(error)}") from None

    def _nodes(self) -> dict[str, object]:
        """Return nodes in place of points, as many in space and time together."""
        count = self.points.interior
        if self.points.initial is None or count is None:
            return {"method": "nodes", "interior": count}
        return {"method": "nodes", "interior": max(1, count // TIMES), "times": TIMES}


def case_names() -> list[str]:
    """Return the names of the cases that come with the package.

    Returns:
        Sorted names.

    Example:
        >>> "helmholtz-rba" in case_names()
        True
    """
    return sorted(entry.name.removesuffix(".toml") for entry in CASES.iterdir() if entry.name.endswith(".toml"))


def load(case: str, *, full: bool = False) -> RunConfig:
    """Read a case of the package, or a TOML file.

    A table [full] in the file holds what its full-size form has instead; it is checked whether it is asked for or not.

    Args:
        case: a case's name, or a path that ends in .toml.
        full: take the full-size form.

    Returns:
        The checked configuration.

    Raises:
        UsageError: an unknown case, a file that is not there or no TOML, an unknown or misspelt key, a wrong value, no
            full-size form.

    Example:
        >>> load("helmholtz-rba").problem.name
        'helmholtz'
    """
    if case.endswith(".toml"):
        path = Path(case)
        if not path.is_file():
            raise UsageError(
                f"{case}: no such file; expected a TOML file that describes a run, or a case: {', '.join(case_names())}"
            )
        text = _read(path)
    elif case in case_names():
        text = (CASES / f"{case}.toml").read_text()
    else:
        raise UsageError(f"unknown case {case!r}; expected {choice(case, case_names())}, or a path that ends in .toml")
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{case} is not TOML: {error}; see `pinnscope run --list` for cases to copy") from None
    larger = given.pop(FULL, None)
    config = _checked(case, given)
    if larger is None:
        if full:
            raise UsageError(f"{case} has no full-size form: leave --full out, or say in a table [{FULL}] what it has")
        return config
    if not isinstance(larger, dict):
        raise UsageError(f"{case}: expected a table [{FULL}] of what the full-size form has instead, came {larger!r}")
    whole = _checked(f"{case} [{FULL}]", _merged(given, larger))
    return whole if full else config


def _checked(case: str, given: Mapping[str, object]) -> RunConfig:
    try:
        return RunConfig.model_validate(given)
    except ValidationError as error:
        raise UsageError(f"{case}: {_first(error)}") from None


def _merged(given: Mapping[str, object], instead: Mapping[str, object]) -> dict[str, object]:
    """Return tables with other values; one with another name replaces the one there, `false` removes it."""
    merged = {key: value for key, value in given.items() if instead.get(key) is not False}
    for key, value in ((key, value) for key, value in instead.items() if value is not False):
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        # Inside a table false is a value: `attention = { inside = false }`.
        merged[key] = old | value if both and value.get("name", old.get("name")) == old.get("name") else value
    return merged


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text in UTF-8; expected a TOML file that describes a run") from None


def choice(given: str, known: Iterable[str]) -> str:
    """Return the alternatives as a message names them, the nearest first where there is a near one.

    Args:
        given: what came.
        known: what was expected.

    Returns:
        Text for an error message.

    Example:
        >>> choice("optimiser", ["optimizer", "problem"])
        "'optimizer' (did you mean it?) or one of optimizer, problem"
    """
    known = list(known)
    near = get_close_matches(given, known, n=1)
    hint = f"{near[0]!r} (did you mean it?) or " if near else ""
    return f"{hint}one of {', '.join(known)}"


def look_up(kind: str, table: Mapping[str, Callable], name: str) -> Callable:
    """Return what a name stands for.

    Args:
        kind: of thing, for the message.
        table: name -> what makes it.
        name: from the file.

    Returns:
        The entry.

    Raises:
        UsageError: an unknown name.

    Example:
        >>> look_up("shape", {"list": list}, "list")
        <class 'list'>
    """
    if name not in table:
        raise UsageError(f"unknown {kind} {name!r}; expected {choice(str(name), table)}")
    return table[name]


def _first(error: ValidationError) -> str:
    detail = min(error.errors(), key=lambda entry: entry["type"] != "extra_forbidden")
    where = [str(part) for part in detail["loc"]]
    if detail["type"] == "extra_forbidden":
        model: type[BaseModel] = RunConfig
        for part in where[:-1]:
            model = _section(model, part)
        known = [*model.model_fields, *([FULL] if len(where) == 1 else [])]
        return f"unknown key {'.'.join(where)!r}; expected {choice(where[-1], known)}"
    came = "" if detail["type"] == "missing" else f", came {detail['input']!r}"
    return f"key {'.'.join(where)!r}: {detail['msg'].lower()}{came}"


def _section(model: type[BaseModel], name: str) -> type[BaseModel]:
    sections = {
        "points": PointsSection,
        "attention": AttentionSection,
        "training": TrainingSection,
        "least_squares": LeastSquaresSection,
    }
    return sections.get(name, model)
