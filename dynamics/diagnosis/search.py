"""Why torch's L-BFGS ended a step before its iterations were used up, told from the evaluations: it says so nowhere."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

TAIL = 10
"""Changes of the loss at the end of a search that tell how it ended."""

RISING = 1 / 3
"""Share of them that are rises, from which the search finds no way down."""

STILL = 10.0
"""A loss that last changed by so many times the tolerance was not ended by it."""

ROUNDED = 4.0
"""Units of round-off of the loss that are no change."""

TORCH = {"max_iter": 20.0, "tolerance_grad": 1e-7, "tolerance_change": 1e-9}
"""Defaults of torch.optim.LBFGS."""


@dataclass(frozen=True, eq=False)
class Search:
    """The last step that evaluated the loss several times.

    Args:
        loss: (evaluations,) of that step.
        gradient: its norm at the lowest of them, NaN where that is not known.
        options: of torch's L-BFGS; empty where they are not known.

    Example:
        >>> Search(np.geomspace(1, 1e-9, 30), 0.1, {"max_iter": 5000.0} | TORCH).ended()
        ''
        >>> Search(np.geomspace(1, 1e-9, 15), 0.1, TORCH).ended()
        'change of the loss near tolerance_change = 1e-09 after 15 evaluations'
    """

    loss: np.ndarray
    gradient: float
    options: dict[str, float]

    @property
    def changes(self) -> np.ndarray:
        """The last changes of the loss from one evaluation to the next."""
        return np.diff(self.loss)[-TAIL:]

    @property
    def scatter(self) -> float:
        """Size of the last changes where they go up and down, 0 where the loss falls."""
        changes = self.changes
        goes_up = len(changes) > 1 and (changes >= 0).mean() >= RISING
        return float(np.median(np.abs(changes))) if goes_up else 0.0

    @property
    def least(self) -> float:
        """Least of the last changes, 0 where there is none."""
        return float(np.abs(self.changes).min()) if len(self.changes) else 0.0

    def rounded(self, epsilon: float) -> bool:
        """Return whether the search found no way down, or none that its precision shows.

        torch's tests of the change end a search whose loss falls ever less; one that ends while the loss still moves by
        far more, or up and down, has no step left that lowers the loss: in a smooth loss that is round-off.

        Args:
            epsilon: unit round-off of the training.

        Returns:
            Whether it did.
        """
        tolerance = self.options.get("tolerance_change", TORCH["tolerance_change"])
        shown = ROUNDED * epsilon * abs(float(self.loss.min()))
        return self.scatter > 0 or self.least > STILL * tolerance or max(tolerance, self.least) < shown

    def ended(self) -> str:
        """Say which test ended it.

        Returns:
            The reason; "" where the step used up its iterations or nothing tells.
        """
        count, options = len(self.loss), self.options
        if not options or count >= options["max_iter"] or not np.isfinite(self.loss).all():
            return ""
        if self.gradient <= options["tolerance_grad"]:
            return f"gradient below tolerance_grad = {options['tolerance_grad']:g}"
        if self.scatter > 0 or self.least > STILL * options["tolerance_change"]:
            size = self.scatter or float(np.median(np.abs(self.changes)))
            return (
                f"no step that lowers the loss, after {count} evaluations, the last of which changed it by {size:.1e}"
            )
        return f"change of the loss near tolerance_change = {options['tolerance_change']:g} after {count} evaluations"


def last_search(step: np.ndarray, loss: np.ndarray, gradient: np.ndarray | None, optimizer: str) -> Search | None:
    """Return the last step of an optimizer that evaluated the loss several times.

    Steps of one evaluation that follow it only repeat the test that ended it.

    Args:
        step: (evaluations,) that each belongs to.
        loss: (evaluations,).
        gradient: (evaluations,) norms, or None.
        optimizer: as the configuration states it, "LBFGS(lr=1, max_iter=20, ...)", also behind others.

    Returns:
        The step, None where there is none.

    Example:
        >>> found = last_search(np.array([0, 0, 0, 1]), np.array([9.0, 4, 2, 2]), None, "LBFGS(max_iter=20)")
        >>> found.loss.tolist(), found.options["max_iter"]
        ([9.0, 4.0, 2.0], 20.0)
    """
    if len(step) < 2 or len(loss) != len(step):
        return None
    several = np.flatnonzero(step[1:] == step[:-1])
    if not len(several):
        return None
    own = step == step[several[-1]]
    known = gradient is not None and len(gradient) == len(loss)
    lowest = int(np.argmin(np.where(np.isfinite(loss[own]), loss[own], np.inf)))
    return Search(loss[own], float(gradient[own][lowest]) if known else float("nan"), lbfgs_options(optimizer))


def lbfgs_options(text: str) -> dict[str, float]:
    """Return the numbers that torch's L-BFGS was made with.

    Args:
        text: of the configuration.

    Returns:
        By name; empty where it is another optimizer's.

    Example:
        >>> lbfgs_options("LBFGS(lr=1, max_iter=5000, tolerance_grad=1e-08, line_search_fn='strong_wolfe')")["max_iter"]
        5000.0
        >>> lbfgs_options("Adam(lr=0.001)")
        {}
    """
    found = re.search(r"\bLBFGS\(([^()]*\bmax_iter=[^()]*)\)", text)
    if found is None:
        return {}
    return TORCH | {name: float(number) for name, number in re.findall(r"(\w+)=([-+\d.e]+)(?=,|$)", found[1])}
