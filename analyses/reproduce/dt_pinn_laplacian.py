"""One Laplacian of a network with random weights: its error and its cost, at depths 2 to 8 (figure 1)."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from analyses.benchmarks.interleaved import interleave
from analyses.reproduce.dt_pinn_settings import AUTODIFF, DISCRETE, TAYLOR, Arm
from solvers.geometry import Disk, scatter
from solvers.networks import MLP
from solvers.operators.operator import Plan
from solvers.operators.sparse_product import SparseProduct
from solvers.points import EQUATION

WIDTH = 50
ORDERS = (2, 3, 4, 5)
LAPLACIAN = "laplacian"
REFERENCE = Arm(AUTODIFF, 64)
ARMS = (
    *(Arm(AUTODIFF, bits) for bits in (32, 64)),
    *(Arm(TAYLOR, bits) for bits in (32, 64)),
    *(Arm(DISCRETE, 64, order) for order in ORDERS),
    *(Arm(DISCRETE, 32, order) for order in ORDERS),
)
NETWORK = "network alone, fp64"
TIMED_S = 1.0
"""CPU seconds that rounds of one depth may take beyond three."""


def product_name(order: int) -> str:
    """Return the name under which the product alone is timed.

    Args:
        order: of RBF-FD.

    Returns:
        Text.
    """
    return f"product p = {order}, fp64"


@dataclass(frozen=True)
class Laplacian:
    """What one depth showed.

    Args:
        depth: hidden layers.
        errors: arm -> relative L2 error of the Laplacian against fp64 automatic differentiation, one a seed.
        noise: order -> largest change of the RBF-FD Laplacian by float32 over the largest |u|, one a seed.
        predicted: order -> the plan's own estimate of it.
        forward: arm or part -> milliseconds, one a round.
        both: likewise with the gradient in the weights.
    """

    depth: int
    errors: Mapping[str, list[float]]
    noise: Mapping[int, list[float]]
    predicted: Mapping[int, float]
    forward: Mapping[str, list[float]]
    both: Mapping[str, list[float]]


@dataclass(eq=False)
class Plans:
    """The Laplacian on one set of nodes by every arm; no plan depends on the network.

    Args:
        count: of nodes.
        device: "cpu" or "cuda".
    """

    count: int
    device: str = "cpu"

    def __post_init__(self):
        points = scatter(Disk(), count=self.count).points().only(EQUATION)
        self._points = {bits: points.to(self.device, dtype) for bits, dtype in _DTYPES.items()}
        with warnings.catch_warnings():
            # What float32 costs is measured here.
            warnings.simplefilter("ignore", RuntimeWarning)
            self.of: dict[Arm, Plan] = {
                arm: arm.operator.plan(self._points[arm.precision], [LAPLACIAN]) for arm in ARMS
            }

    def measure(self, depth: int, seeds: int, rounds_s: float = TIMED_S) -> Laplacian:
        """Measure errors and times at one depth.

        Args:
            depth: hidden layers.
            seeds: networks for the errors; times are the first one's.
            rounds_s: CPU seconds of timing rounds.

        Returns:
            What was measured.
        """
        errors: dict[str, list[float]] = {arm.label: [] for arm in ARMS}
        noise: dict[int, list[float]] = {order: [] for order in ORDERS}
        for seed in range(seeds):
            networks = _networks(depth, seed, self.device)
            with torch.no_grad():
                jets = {arm: plan(networks[arm.precision]) for arm, plan in self.of.items()}
            values = {arm: jet[LAPLACIAN].double() for arm, jet in jets.items()}
            exact = values[REFERENCE]
            for arm, value in values.items():
                errors[arm.label].append(float((value - exact).norm() / exact.norm()))
            for order in ORDERS:
                fine, coarse = (values[Arm(DISCRETE, bits, order)] for bits in (64, 32))
                size = float(jets[Arm(DISCRETE, 64, order)][""].abs().max())
                noise[order].append(float((fine - coarse).abs().max()) / size)
        predicted = {order: max(self.of[Arm(DISCRETE, 32, order)].roundoff.values()) for order in ORDERS}
        forward, both = self._times(_networks(depth, 0, self.device), rounds_s)
        return Laplacian(depth, errors, noise, predicted, forward, both)

    def _times(self, networks: Mapping[int, nn.Module], budget: float) -> tuple[dict, dict]:
        timed = [arm for arm in ARMS if arm.method != DISCRETE or arm.precision == 64]
        forward: dict[str, Callable[[], object]] = {}
        both: dict[str, Callable[[], object]] = {}
        for arm in timed:
            network = networks[arm.precision]
            value = partial(_laplacian, self.of[arm], network)
            forward[arm.label], both[arm.label] = partial(_plainly, value), partial(_descend, value, network)
        evaluated = self.of[Arm(DISCRETE, 64, ORDERS[0])].inner
        value = partial(_value, evaluated, networks[64])
        forward[NETWORK], both[NETWORK] = partial(_plainly, value), partial(_descend, value, networks[64])
        for order in ORDERS:
            matrix = self.of[Arm(DISCRETE, 64, order)].matrix(LAPLACIAN)
            values = torch.ones(matrix.shape[1], 1, dtype=torch.float64, device=self.device)
            product = SparseProduct(matrix, values)
            name = product_name(order)
            forward[name] = partial(product.multiply, values, False)
            both[name] = partial(_there_and_back, product, values)
        return tuple(self._clocked(calls, budget) for calls in (forward, both))

    def _clocked(self, calls: Mapping[str, Callable[[], object]], budget: float) -> dict[str, list[float]]:
        if self.device != "cpu":
            calls = {name: partial(_synchronised, call) for name, call in calls.items()}
        timings = interleave(calls, budget)
        kept = {name: timing.cpu if self.device == "cpu" else timing.wall for name, timing in timings.items()}
        return {name: [float(f"{1e3 * value:.5g}") for value in values] for name, values in kept.items()}


_DTYPES = {32: torch.float32, 64: torch.float64}


def _networks(depth: int, seed: int, device: str) -> dict[int, nn.Module]:
    """Return one network in both precisions; its weights are those of float32."""
    torch.manual_seed(seed)
    network = MLP(2, (WIDTH,) * depth).to(device)
    return {bits: copy.deepcopy(network).to(dtype) for bits, dtype in _DTYPES.items()}


def _laplacian(plan: Plan, network: nn.Module) -> torch.Tensor:
    return plan(network)[LAPLACIAN]


def _value(plan: Plan, network: nn.Module) -> torch.Tensor:
    return plan(network)[""]


def _plainly(value: Callable[[], torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return value()


def _descend(value: Callable[[], torch.Tensor], network: nn.Module) -> object:
    # The last bias is in no second derivative.
    return torch.autograd.grad(value().square().mean(), list(network.parameters()), allow_unused=True)


def _there_and_back(product: SparseProduct, values: torch.Tensor) -> torch.Tensor:
    return product.multiply(product.multiply(values, False), True)


def _synchronised(call: Callable[[], object]) -> None:
    call()
    torch.cuda.synchronize()
