"""When to measure: cadences, linear or logarithmic in the step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


class Cadence(Protocol):
    """Says at which steps a probe is due; stateless, so that a resumed run measures at the same steps."""

    def due(self, step: int) -> bool:
        """Return whether to measure at this step.

        Args:
            step: optimizer step, from 0.

        Returns:
            True where a measurement is due; step 0 is, but for `AtEnd`.
        """
        ...


@dataclass(frozen=True)
class Every:
    """Every n-th step.

    Args:
        n: spacing in steps.

    Raises:
        ValueError: n below 1.

    Example:
        >>> [step for step in range(7) if Every(3).due(step)]
        [0, 3, 6]
    """

    n: int

    def __post_init__(self):
        if self.n < 1:
            raise ValueError(f"expected a spacing of at least 1 step, came {self.n}")

    def due(self, step: int) -> bool:
        """Return whether step is a multiple of n.

        Args:
            step: optimizer step, from 0.

        Returns:
            True where due.
        """
        return step % self.n == 0


@dataclass(frozen=True)
class AtEnd:
    """Never by itself: only at the last step of a run, where every probe measures.

    Example:
        >>> AtEnd().due(0)
        False
    """

    def due(self, step: int) -> bool:
        """Return that no step is due.

        Args:
            step: optimizer step, from 0.

        Returns:
            False.
        """
        return False


@dataclass(frozen=True)
class Logarithmic:
    """A fixed number of measurements per decade of steps, never closer than `spacing` steps.

    Training happens in log time: 30 a decade resolve a transition to 8 % of its step and cost 62 measurements in the
    first 2,000 steps, 92 in 20,000. The spacing keeps the dense beginning of a logarithmic grid from costing most.

    Args:
        per_decade: measurements per factor of ten.
        spacing: smallest distance between two measurements, in steps.

    Raises:
        ValueError: per_decade not positive, or spacing below 1.

    Example:
        >>> [step for step in range(101) if Logarithmic(4, spacing=1).due(step)]
        [0, 1, 2, 4, 6, 10, 18, 32, 57, 100]
        >>> [step for step in range(40) if Logarithmic(30).due(step)]
        [0, 4, 8, 12, 16, 20, 24, 28, 32, 36]
    """

    per_decade: float = 30
    spacing: int = 4

    def __post_init__(self):
        if not self.per_decade > 0 or self.spacing < 1:
            raise ValueError(f"expected per_decade > 0 and spacing >= 1, came {self.per_decade} and {self.spacing}")

    def due(self, step: int) -> bool:
        """Return whether a multiple of 1/per_decade lies between log10 of this multiple of the spacing and the last.

        Args:
            step: optimizer step, from 0.

        Returns:
            True where due.
        """
        if step % self.spacing:
            return False
        return step <= self.spacing or self._index(step) != self._index(step - self.spacing)

    def _index(self, step: int) -> int:
        # The small shift keeps exact powers of ten on their own side of the boundary.
        return math.floor(self.per_decade * math.log10(step) + 1e-9)
