"""Whether a loss still falls, over several steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

PATIENCE = 10
"""Steps without a decrease worth the name after which a run has ended."""


@dataclass(eq=False)
class Plateau:
    """Counts the steps since the loss last fell by a share of itself.

    Args:
        value: of the last step.
        lowest: value that the next decrease counts from.
        flat: steps since.

    Example:
        >>> plateau = Plateau()
        >>> plateau.start(1.0)
        >>> [plateau.reached(0.5 + 1e-13 * k, 1e-12) is None for k in range(11)]
        [True, True, True, True, True, True, True, True, True, True, False]
    """

    value: float = math.nan
    lowest: float = math.inf
    flat: int = 0

    def start(self, value: float) -> None:
        """Begin a step.

        Args:
            value: where it begins; another one than where the last step ended is another loss, or another vector, and
                decreases count from there.
        """
        if value != self.value:
            self.value = self.lowest = value
            self.flat = 0

    def reached(self, value: float, tolerance: float) -> str | None:
        """End a step.

        Args:
            value: where it ended.
            tolerance: share of the loss that a decrease must exceed.

        Returns:
            Why the run has ended, or None.
        """
        fallen = value < self.lowest - tolerance * abs(self.lowest)
        self.value, self.lowest, self.flat = value, value if fallen else self.lowest, 0 if fallen else self.flat + 1
        if self.flat < PATIENCE:
            return None
        return f"{PATIENCE} steps without a relative decrease above tolerance_change = {tolerance:g}"

    def to_array(self) -> list[float]:
        """Return the state as numbers.

        Returns:
            Arguments of `Plateau`.
        """
        return [self.value, self.lowest, float(self.flat)]
