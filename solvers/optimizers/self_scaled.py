"""Dense self-scaled quasi-Newton methods: what SSBroyden and SSBFGS share, all but the formula of their factors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from dynamics.tall import available_memory
from solvers.optimizers.broyden import BroydenUpdate
from solvers.optimizers.inverse_hessian import InverseHessian
from solvers.optimizers.line import Line
from solvers.optimizers.plateau import Plateau
from solvers.optimizers.quasi_newton import QuasiNewton


@dataclass(eq=False)
class SelfScaledState:
    """The vector, the inverse Hessian, and what is known of the point that the last step ended at.

    Args:
        vector: (parameters,) flat buffer.
        inverse: H.
        gradient: (parameters,) float64 there; empty at the start.
        direction: (parameters,) -H g there; empty at the start.
        plateau: whether the loss still falls.
        caution: factor of the loss's rounding.
    """

    vector: Tensor
    inverse: InverseHessian
    gradient: Tensor
    direction: Tensor
    plateau: Plateau = field(default_factory=Plateau)
    caution: float = 1.0

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the state as arrays, for a checkpoint.

        Returns:
            Copies, by name; `from_arrays` of the optimizer takes them.
        """
        tensors = {name: getattr(self, name).cpu().numpy().copy() for name in ("vector", "gradient", "direction")}
        numbers = {"plateau": np.array(self.plateau.to_array()), "caution": np.array(self.caution)}
        return tensors | numbers | self.inverse.to_arrays()


@dataclass(frozen=True)
class SelfScaled(QuasiNewton):
    """Base of `SSBroyden` and `SSBFGS`; a subclass gives the factors tau and phi of the update.

    Args:
        max_evaluations: of one line search.
        decrease: c_1 of the first Wolfe condition.
        curvature: c_2 of the second.
        tolerance_gradient: largest entry of the gradient that ends the run.
        tolerance_step: largest entry of a step, over the largest of the vector, that ends the run.
        tolerance_change: relative decrease of the loss; less of it counts as none.
        noise: rounding of the loss, relative, below which the search trusts its slopes; None for `loss_rounding`, which
            grows as the loss falls.
        memory_fraction: of the memory at hand that H may take.

    Raises:
        ValueError: an unknown option, a value out of range, or in `init` a matrix too large for the memory.
    """

    max_evaluations: int = 25
    decrease: float = 1e-4
    curvature: float = 0.9
    tolerance_gradient: float = 1e-12
    tolerance_step: float = 1e-16
    tolerance_change: float = 1e-12
    noise: float | None = None
    memory_fraction: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        self._require(["memory_fraction"], 0 < self.memory_fraction <= 1, "a share of the memory, above 0, at most 1")

    def init(self, vector: Tensor) -> SelfScaledState:
        """Return the state with the unit matrix.

        Args:
            vector: (parameters,) flat buffer; it is updated in place.

        Returns:
            The state.
        """
        self._check(vector)
        nothing = torch.empty(0, dtype=torch.float64, device=vector.device)
        return SelfScaledState(vector, InverseHessian(vector), nothing, nothing)

    def from_arrays(self, arrays: Mapping[str, np.ndarray], vector: Tensor) -> SelfScaledState:
        """Return the state that `SelfScaledState.to_arrays` has written; what follows is the same to the last bit.

        Args:
            arrays: from it.
            vector: (parameters,) flat buffer, which gets the stored values.

        Returns:
            The state.
        """
        self._check(vector)
        inverse = InverseHessian.from_arrays(arrays, vector)
        vector.copy_(torch.from_numpy(np.asarray(arrays["vector"])))
        known = [torch.tensor(np.asarray(arrays[name]), device=vector.device) for name in ("gradient", "direction")]
        plateau = Plateau(*np.asarray(arrays["plateau"]).tolist())
        return SelfScaledState(vector, inverse, *known, plateau, float(arrays["caution"]))

    def _check(self, vector: Tensor) -> None:
        """Refuse a matrix that would take more than a share of the memory at hand."""
        name = type(self).__name__
        count, cuda = vector.numel(), vector.device.type == "cuda"
        needed = 8 * count**2 * (3 if cuda else 1)
        free = torch.cuda.mem_get_info(vector.device)[0] if cuda else available_memory()
        if needed > self.memory_fraction * free:
            raise ValueError(
                f"{name}: expected an inverse Hessian of at most {self.memory_fraction * free / 2**30:.3g} GiB "
                f"(memory_fraction = {self.memory_fraction:g} of what is free), came {needed / 2**30:.3g} GiB for "
                f"{count:,} parameters: use a smaller network, or LBFGS(), which keeps no matrix"
            )

    def _arrive(self, state: SelfScaledState, gradient: Tensor) -> None:
        state.direction = -state.inverse.product(gradient)

    def _direction(self, state: SelfScaledState, line: Line) -> Tensor | None:
        return state.direction if state.inverse.learnt else None

    def _forget(self, state: SelfScaledState) -> None:
        state.inverse.reset()

    def _learn(self, state: SelfScaledState, line: Line, s: Tensor) -> None:
        """Update H with the step just made, where the curvature is positive beyond rounding."""
        inverse, after = state.inverse, line.latest_gradient
        y = after - line.gradient
        # The direction was -H g, so that H y = H g_+ - H g takes no second product.
        product = inverse.product(after)
        p = product + line.direction
        curvature, stretched = float(s @ y), float(y @ p)
        state.direction = -product
        if not self._curved(line, s, curvature):
            return
        if not (stretched > 0 and math.isfinite(stretched)):
            inverse.reset()
            state.direction = -after
            return
        h, b = stretched / curvature, -line.latest.step * float(s @ line.gradient) / curvature
        tau, phi = self._factors(h, b, len(s), first=not inverse.learnt)
        update = BroydenUpdate(s, p, curvature, h, tau, phi)
        state.direction = -update.applied(product, after)
        inverse.update(update)

    def _factors(self, h: float, b: float, size: int, first: bool) -> tuple[float, float]:
        """Return tau and phi from y^T H y / s^T y, s^T H^-1 s / s^T y and the number of parameters."""
        raise NotImplementedError
