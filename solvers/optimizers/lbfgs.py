"""L-BFGS on the flat vector: pairs in one buffer, a strong Wolfe line search, one iteration a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from solvers.optimizers.curvature_pairs import CurvaturePairs
from solvers.optimizers.line import Line
from solvers.optimizers.plateau import Plateau
from solvers.optimizers.quasi_newton import QuasiNewton


@dataclass(eq=False)
class LBFGSState:
    """The vector, the pairs, and what is known of the point that the last step ended at.

    Args:
        vector: (parameters,) flat buffer.
        pairs: of steps and changes of the gradient.
        gradient: (parameters,) float64 there; empty at the start.
        products: (pairs, 2) of the pairs with it.
        plateau: whether the loss still falls.
        caution: factor of the loss's rounding.
    """

    vector: Tensor
    pairs: CurvaturePairs
    gradient: Tensor
    products: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    plateau: Plateau = field(default_factory=Plateau)
    caution: float = 1.0

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the state as arrays, for a checkpoint.

        Returns:
            Copies, by name; `LBFGS.from_arrays` takes them.
        """
        known = {"vector": self.vector.cpu().numpy().copy(), "gradient": self.gradient.cpu().numpy().copy()}
        counted = {"products": self.products.copy(), "plateau": np.array(self.plateau.to_array())}
        counted["caution"] = np.array(self.caution)
        return known | counted | self.pairs.to_arrays()


@dataclass(frozen=True)
class LBFGS(QuasiNewton):
    """Limited-memory BFGS with a strong Wolfe line search; a step is one search direction.

    Everything but the loss is computed in float64. A float32 loss works and ends higher: the search stops where its
    rounding, about 1e-7 of the loss, hides the decrease. A point where the loss is not finite shortens the step. After
    a failed search the pairs are dropped and steepest descent is tried; where that fails too the vector is put back.

    The run ends, with the reason in `StepInfo.stopped`, where the gradient or the step falls below its tolerance, where
    no direction lowers the loss, and after 10 steps that together lower it by less than `tolerance_change`.

    Args:
        history: pairs kept.
        max_evaluations: of one line search.
        decrease: c_1 of the first Wolfe condition.
        curvature: c_2 of the second.
        tolerance_gradient: largest entry of the gradient that ends the run.
        tolerance_step: largest entry of a step, over the largest of the vector, that ends the run.
        tolerance_change: relative decrease of the loss; less of it counts as none.
        noise: rounding of the loss, relative, below which the search trusts its slopes; None for `loss_rounding`, which
            grows as the loss falls.

    Raises:
        ValueError: an unknown option, or a value out of range.

    Source: D. C. Liu, J. Nocedal, Math. Program. 45 (1989) 503-528.

    Cost: beside the loss, two passes over 16 history bytes a parameter a step.

    Example:
        >>> from types import SimpleNamespace
        >>> def bowl(x):
        ...     return SimpleNamespace(value=(x**2).sum(), gradient=2 * x)
        >>> optimizer, vector = LBFGS(), torch.tensor([3.0, 4.0], dtype=torch.float64)
        >>> state = optimizer.init(vector)
        >>> for _ in range(2):
        ...     state, info = optimizer.step(bowl, state)
        >>> float(vector.abs().max()) < 1e-12, info.stopped
        (True, 'gradient below tolerance_gradient = 1e-12')
    """

    history: int = 100
    max_evaluations: int = 25
    decrease: float = 1e-4
    curvature: float = 0.9
    tolerance_gradient: float = 1e-12
    tolerance_step: float = 1e-16
    tolerance_change: float = 1e-12
    noise: float | None = None

    def __post_init__(self):
        self._require(["history"], int(self.history) == self.history >= 1, "a whole number of pairs, at least 1")
        super().__post_init__()

    def init(self, vector: Tensor) -> LBFGSState:
        """Return the state without pairs.

        Args:
            vector: (parameters,) flat buffer; it is updated in place.

        Returns:
            The state.
        """
        nothing = torch.empty(0, dtype=torch.float64, device=vector.device)
        return LBFGSState(vector, CurvaturePairs(self.history, vector), nothing)

    def from_arrays(self, arrays: Mapping[str, np.ndarray], vector: Tensor) -> LBFGSState:
        """Return the state that `LBFGSState.to_arrays` has written; what follows is the same to the last bit.

        Args:
            arrays: from it.
            vector: (parameters,) flat buffer, which gets the stored values.

        Returns:
            The state.
        """
        vector.copy_(torch.from_numpy(np.asarray(arrays["vector"])))
        gradient = torch.tensor(np.asarray(arrays["gradient"]), device=vector.device)
        pairs = CurvaturePairs.from_arrays(arrays, self.history, vector)
        plateau = Plateau(*np.asarray(arrays["plateau"]).tolist())
        return LBFGSState(vector, pairs, gradient, np.array(arrays["products"]), plateau, float(arrays["caution"]))

    def _arrive(self, state: LBFGSState, gradient: Tensor) -> None:
        state.products = state.pairs.products(gradient)

    def _direction(self, state: LBFGSState, line: Line) -> Tensor | None:
        return state.pairs.direction(line.gradient, state.products) if state.pairs.count else None

    def _forget(self, state: LBFGSState) -> None:
        state.pairs.clear()

    def _learn(self, state: LBFGSState, line: Line, s: Tensor) -> None:
        """Take in the pair of the step just made, where its curvature is positive beyond rounding."""
        pairs, after = state.pairs, line.latest_gradient
        y = after - line.gradient
        kept, ahead = state.products[: pairs.count], pairs.products(after)
        curvature = float(s @ y)
        if self._curved(line, s, curvature):
            dropped = pairs.count == pairs.history
            pairs.add(s, y, ahead - kept, curvature)
            newest = np.array([[float(s @ after), float(y @ after)]])
            ahead = np.concatenate([ahead[1:] if dropped else ahead, newest])
        state.products = ahead
