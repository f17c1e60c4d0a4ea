"""What the loop itself knows and tells: terms of the loss, errors of the solution, unknown coefficients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from solvers.attaching.coefficients import Coefficients
from solvers.attaching.known_errors import KnownErrors


@dataclass(frozen=True)
class FromLoop:
    """What is asked of the loop for the rows of a file; None of what it does not tell.

    Args:
        terms: -> raw losses by name.
        errors: of the solution.
        coefficients: that are trained.
    """

    terms: Callable[[], Mapping[str, Any]] | None = None
    errors: KnownErrors | None = None
    coefficients: Coefficients | None = None
