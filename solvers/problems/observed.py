"""What of a network is compared with the solution, where that is not what it puts out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from solvers.jet import Jet


@dataclass(frozen=True)
class Observed:
    """Quantities made of a network's partials: the velocity of a stream function, what is defined up to a constant.

    Args:
        names: of the quantities, such as ("u", "v").
        partials: what they read from the jet.
        of: jet -> (n, quantities).

    Example:
        >>> Observed(("v",), ("x",), lambda jet: -jet["x"]).names
        ('v',)
    """

    names: tuple[str, ...]
    partials: tuple[str, ...]
    of: Callable[[Jet], Tensor]
