"""L-BFGS on the flat vector: pairs in one buffer, a strong Wolfe line search, one iteration a step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from solvers.optimizers.curvature_pairs import CurvaturePairs
from solvers.optimizers.line import Line, largest
from solvers.optimizers.line_search import Search, StrongWolfe
from solvers.optimizers.optimizer import Objective, StepInfo
from solvers.optimizers.options import NamedOptions
from solvers.optimizers.plateau import Plateau

EPS = float(np.finfo(np.float64).eps)
NOISE = {torch.float64: 1e-10, torch.float32: 1e-6}
"""Rounding of a loss that is a sum over many points, relative."""


@dataclass(eq=False)
class LBFGSState:
    """The vector, the pairs, and what is known of the point that the last step ended at.

    Args:
        vector: (parameters,) flat buffer.
        pairs: of steps and changes of the gradient.
        gradient: (parameters,) float64 there; empty at the start.
        products: (pairs, 2) of the pairs with it.
        plateau: whether the loss still falls.
    """

    vector: Tensor
    pairs: CurvaturePairs
    gradient: Tensor
    products: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    plateau: Plateau = field(default_factory=Plateau)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the state as arrays, for a checkpoint.

        Returns:
            Copies, by name; `LBFGS.from_arrays` takes them.
        """
        known = {"vector": self.vector.cpu().numpy().copy(), "gradient": self.gradient.cpu().numpy().copy()}
        counted = {"products": self.products.copy(), "plateau": np.array(self.plateau.to_array())}
        return known | counted | self.pairs.to_arrays()


@dataclass(frozen=True)
class LBFGS(NamedOptions):
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
        noise: rounding of the loss, relative, below which the search trusts its slopes; None for 1e-10 in float64 and
            1e-6 in float32.

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

    many_evaluations: ClassVar[bool] = True
    records: ClassVar[tuple[str, ...]] = ("step_length",)

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
        self._require(["max_evaluations"], self.max_evaluations >= 1, "at least one evaluation a search")
        wolfe = 0 < self.decrease < 0.5 and self.decrease < self.curvature < 1
        self._require(["decrease", "curvature"], wolfe, "0 < decrease < 1/2 and decrease < curvature < 1")
        for name in ("tolerance_gradient", "tolerance_step", "tolerance_change"):
            self._require([name], 0 <= getattr(self, name) < math.inf, "a tolerance of at least 0")
        self._require(["noise"], self.noise is None or 0 <= self.noise < 1, "None or a share of the loss, below 1")

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
        return LBFGSState(vector, pairs, gradient, np.array(arrays["products"]), plateau)

    def step(self, objective: Objective, state: LBFGSState) -> tuple[LBFGSState, StepInfo]:
        """Make one iteration: a direction, and a line search along it.

        Args:
            objective: vector -> evaluation with value and gradient.
            state: from `init` or the last step; its pairs and vector are updated in place.

        Returns:
            The state and what happened.
        """
        line = Line(objective, state.vector)
        if not (math.isfinite(line.value) and math.isfinite(line.size)):
            return state, StepInfo(stopped="the loss or its gradient is not finite: nothing to descend on")
        state.plateau.start(line.value)
        if self._small(line.gradient):
            return state, StepInfo(stopped=self._reason("gradient"))
        known = state.gradient.shape == line.gradient.shape and torch.equal(line.gradient, state.gradient)
        products = state.products if known else state.pairs.products(line.gradient)
        search = self._search(line, state.pairs, products)
        line.settle(search.trial.step)
        if search.trial.step == 0:
            state.gradient = state.gradient[:0]
            return state, StepInfo(stopped=_no_decrease(state.vector.dtype))
        moved = line.displacement
        self._learn(state, line, moved, products)
        return state, StepInfo(stopped=self._ended(state, line, moved), step_length=search.trial.step)

    def _search(self, line: Line, pairs: CurvaturePairs, products: np.ndarray) -> Search:
        """Return the search along the quasi-Newton direction, else along steepest descent without any pairs."""
        noise = NOISE[line.vector.dtype] if self.noise is None else self.noise
        wolfe = StrongWolfe(self.decrease, self.curvature, noise, self.max_evaluations)
        if pairs.count:
            start = line.aim(pairs.direction(line.gradient, products))
            if line.descends(start):
                search = wolfe(line, start, 1.0, line.smallest)
                if search.trial.step > 0:
                    return search
            pairs.clear()
        start = line.aim(-line.gradient)
        return wolfe(line, start, min(1.0, 1 / float(line.gradient.abs().sum())), line.smallest)

    def _learn(self, state: LBFGSState, line: Line, s: Tensor, products: np.ndarray) -> None:
        """Take in the pair of the step just made, where its curvature is positive beyond rounding."""
        after = line.latest_gradient
        y = after - line.gradient
        kept, pairs = products[: state.pairs.count], state.pairs
        ahead = pairs.products(after)
        curvature, length = float(s @ y), float(torch.linalg.vector_norm(s))
        if curvature > 10 * EPS * length * max(line.size, float(torch.linalg.vector_norm(after))):
            dropped = pairs.count == pairs.history
            pairs.add(s, y, ahead - kept, curvature)
            newest = np.array([[float(s @ after), float(y @ after)]])
            ahead = np.concatenate([ahead[1:] if dropped else ahead, newest])
        state.gradient, state.products = after, ahead

    def _ended(self, state: LBFGSState, line: Line, moved: Tensor) -> str | None:
        """Return why another step would change nothing, or None."""
        flat = state.plateau.reached(line.latest.value, self.tolerance_change)
        if self._small(state.gradient):
            return self._reason("gradient")
        if largest(moved) <= self.tolerance_step * line.extent:
            return self._reason("step")
        return flat

    def _small(self, gradient: Tensor) -> bool:
        return largest(gradient) <= self.tolerance_gradient

    def _reason(self, kind: str) -> str:
        return f"{kind} below tolerance_{kind} = {getattr(self, f'tolerance_{kind}'):g}"


def _no_decrease(dtype: torch.dtype) -> str:
    said = "no decrease possible: the loss falls neither along the quasi-Newton direction nor along the gradient"
    return said if dtype == torch.float64 else f"{said}, in {str(dtype).removeprefix('torch.')}: float64 goes lower"
