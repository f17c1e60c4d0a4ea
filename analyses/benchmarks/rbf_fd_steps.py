"""The cost of one loss and gradient on scattered nodes: autograd, TangentProp, RBF-FD, and the network alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import scipy.sparse
import torch
from torch import Tensor

from analyses.benchmarks.interleaved import interleave
from analyses.terminal import say, table
from solvers.evaluation import Evaluation
from solvers.networks import MLP
from solvers.objective import Objective
from solvers.operators import RBFFD, AutoDiff, TangentProp
from solvers.operators.operator import Operator
from solvers.operators.sparse_product import SparseProduct
from solvers.points import EQUATION, Points
from solvers.problems import disk_poisson

WIDTHS = [50] * 4
COUNTS = (828, 4977, 19638)
QUICK = (300,)
OURS = ("RBF-FD p=3", "RBF-FD p=5")
EXACT = {
    "autograd float64": (AutoDiff(), torch.float64),
    "autograd float32": (AutoDiff(), torch.float32),
    "TangentProp float64": (TangentProp(), torch.float64),
    "TangentProp float32": (TangentProp(), torch.float32),
}
NETWORK = "network alone, torch"
PRODUCTS = ("its product, p=5", "torch CSR autograd, p=5")
LARGEST_MUST = (("autograd float64", 7.5), ("autograd float32", 3.9), (NETWORK, 0.9))
"""Time of each over ours at the largest count."""


def objective(operator: Operator, dtype: torch.dtype, points: Points) -> Objective:
    """Return the linear Poisson equation's loss for a network of 4 layers of 50 tanh units.

    Args:
        operator: of the derivatives.
        dtype: of network and points.
        points: on the unit disk.

    Returns:
        The objective, from one seed.
    """
    torch.manual_seed(0)
    return Objective(disk_poisson(), MLP(2, WIDTHS).to(dtype), operator, points.to(dtype=dtype))


def step(own: Objective) -> Tensor:
    """Return the gradient of the loss, nothing shared with an earlier call.

    Args:
        own: the objective.

    Returns:
        (parameters,).
    """
    return Evaluation(own).gradient


def network_alone(points: Points) -> Callable[[], object]:
    """Return forward and backward of the plain torch network on as many rows as there are nodes of all kinds.

    Args:
        points: with ghosts.

    Returns:
        A call.
    """
    torch.manual_seed(0)
    network, x = MLP(2, WIDTHS).double(), torch.cat([points.rows, points.ghost])
    parameters = list(network.parameters())
    return lambda: torch.autograd.grad(network(x).square().mean(), parameters)


def stacked(points: Points, order: int) -> scipy.sparse.csr_array:
    """Return the Laplacian's rows above the Robin condition's.

    Args:
        points: with ghosts.
        order: p.

    Returns:
        (interior + 2 boundary, nodes): square.
    """
    operator = RBFFD(order)
    laplacian = operator.plan(points.only(EQUATION), ["laplacian"]).matrix("laplacian")
    robin = operator.plan(points.only("boundary"), ["", "n"]).combine({"n": 1.0, "": 1.0})
    return scipy.sparse.csr_array(scipy.sparse.vstack([laplacian, robin], format="csr"))


def products(points: Points, order: int) -> dict[str, Callable[[], Tensor]]:
    """Return forward and backward of the stacked matrix alone, ours and torch's own through a CSR tensor.

    Args:
        points: with ghosts.
        order: p.

    Returns:
        Name -> call that returns the gradient of |C u|^2.
    """
    matrix = stacked(points, order)
    values = torch.ones(matrix.shape[1], 1, dtype=torch.float64, requires_grad=True)
    own = SparseProduct(matrix, values)
    arrays = (torch.from_numpy(getattr(matrix, name)) for name in ("indptr", "indices", "data"))
    with warnings.catch_warnings():
        # That CSR tensors are in beta.
        warnings.simplefilter("ignore", UserWarning)
        plain = torch.sparse_csr_tensor(*arrays, size=matrix.shape, check_invariants=False)

    def through(multiply: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
        return lambda: torch.autograd.grad(multiply(values).square().sum(), values)[0]

    return dict(zip(PRODUCTS, (through(own), through(lambda u: plain @ u)), strict=True))


def measure_count(count: int, budget: float) -> dict[str, object]:
    """Time everything at one number of nodes, in interleaved rounds.

    Args:
        count: of interior and boundary nodes.
        budget: CPU seconds for all rounds of calls below half a second.

    Returns:
        Timings, losses, and how far the gradients of the exact operators lie from each other.
    """
    problem = disk_poisson()
    with_ghosts = problem.sample(interior=count)
    # As in the paper, exact derivatives need no ghosts, and the equation is then asked for in the interior alone.
    without = problem.sample(interior=count, ghost_layers=0)
    objectives = {name: objective(operator, dtype, without) for name, (operator, dtype) in EXACT.items()}
    objectives |= {name: objective(RBFFD(int(name[-1])), torch.float64, with_ghosts) for name in OURS}
    calls = {name: lambda own=own: step(own) for name, own in objectives.items()}
    calls[NETWORK] = network_alone(with_ghosts)
    calls |= products(with_ghosts, 5)
    first, second = (calls[name]() for name in ("autograd float64", "TangentProp float64"))
    own, torchs = (calls[name]() for name in PRODUCTS)
    timings = {name: timing.as_json() for name, timing in interleave(calls, budget).items()}
    return {
        "nodes": len(with_ghosts.rows),
        "rows_of_the_network": len(with_ghosts.rows) + len(with_ghosts.ghost),
        "losses": {name: float(Evaluation(each).value.detach()) for name, each in objectives.items()},
        "difference_of_exact_gradients": float((first - second).abs().max() / first.abs().max()),
        "difference_of_products": float((own - torchs).abs().max() / own.abs().max()),
        "timings": timings,
    }


def measure(quick: bool, counts: tuple[int, ...] | None = None) -> dict[str, object]:
    """Time all numbers of nodes.

    Args:
        quick: one small number, short rounds.
        counts: other numbers.

    Returns:
        A row a number.
    """
    rows = []
    for count in counts or (QUICK if quick else COUNTS):
        rows.append(measure_count(count, 0.1 if quick else 20.0))
        cells = (f"{name} {ms(rows[-1], name):.2f} ms" for name in ("autograd float64", OURS[-1]))
        say(f"step: N = {rows[-1]['nodes']:,}: {', '.join(cells)}")
    return {"rows": rows}


def ms(row: dict[str, object], name: str) -> float:
    """Return the median CPU time of a call.

    Args:
        row: from `measure_count`.
        name: of the call.

    Returns:
        Milliseconds.
    """
    return row["timings"][name]["cpu_ms"]


def show(found: dict[str, object]) -> None:
    """Print times, and ratios to ours at p = 5.

    Args:
        found: from `measure`.
    """
    rows = found["rows"]
    lines = []
    for name in (*EXACT, *OURS, NETWORK, *PRODUCTS):
        cells = [f"{ms(row, name):.2f} ({ms(row, name) / ms(row, OURS[-1]):.2f})" for row in rows]
        lines.append((name, *cells))
    heads = ("", *(f"N = {row['nodes']:,}" for row in rows))
    table("one loss and gradient, 4x50 tanh: CPU ms (over RBF-FD p = 5 in float64)", heads, lines)
    for row in rows:
        product, torchs = (ms(row, name) for name in PRODUCTS)
        share, times = 100 * product / ms(row, OURS[-1]), torchs / product
        count = f"N = {row['nodes']:,}"
        say(f"{count}: the product is {share:.0f} % of ours, torch's CSR autograd {times:.0f} times as much")


def summary(found: dict[str, object]) -> list[tuple[str, str, str]]:
    """Compare the ratios at the largest number of nodes with what they must reach.

    Args:
        found: from `measure`.

    Returns:
        What, measured, verdict.
    """
    row = found["rows"][-1]
    lines = []
    for name, least in LARGEST_MUST:
        for own in OURS:
            ratio = ms(row, name) / ms(row, own)
            what = f"must: {name} / {own} >= {least}, N = {row['nodes']:,}"
            lines.append((what, f"{ratio:.2f}", "reached" if ratio >= least else "not reached"))
    return lines
