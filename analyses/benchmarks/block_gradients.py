"""The price of the gradients of all blocks: beside one training step, and beside a loop of one backward pass a block.

Run as `python -m analyses.benchmarks.block_gradients [--quick] [--json FILE]`; about 4 minutes, 10 s with --quick.

A training step is loss and gradient with the same operator and dtype, without the optimizer's own work. "blocks" are
the gradients of the interior term over B blocks and of the conditions, "probe" is the whole of
`solvers.probes.block_gradients` with terms and statistics, with and without its Gram matrix. The loop takes the points
of each block for themselves, forward and backward, as plain torch code would. Helmholtz with 256 boundary points and
attention weights, one thread.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple, Optional

import torch
import typer

from analyses.benchmarks.interleaved import interleave
from analyses.benchmarks.machine import describe_machine
from analyses.terminal import keep, table
from solvers import MLP, AutoDiff, TangentProp, problems
from solvers.blocks import BlockGradients
from solvers.evaluation import Evaluation
from solvers.objective import Objective
from solvers.points import Points
from solvers.probes import Moment, block_gradients

BOUNDARY = 256
BUDGET_S = 2.0
OPERATORS = {"tangent-prop": TangentProp, "autodiff": AutoDiff}


class Cell(NamedTuple):
    """One size: hidden widths, interior points, blocks and dtype."""

    widths: tuple[int, ...]
    points: int
    blocks: int
    dtype: str

    @property
    def label(self) -> str:
        """As the table prints it."""
        return f"{len(self.widths)}x{self.widths[0]} {self.points}/{self.blocks} {self.dtype}"


CELLS = (
    Cell((32,) * 4, 1024, 8, "float32"),
    Cell((32,) * 4, 1024, 64, "float32"),
    Cell((64,) * 4, 2500, 100, "float32"),
    Cell((64,) * 4, 2500, 100, "float64"),
    Cell((128,) * 6, 25600, 100, "float32"),
)
QUICK = (Cell((8,) * 2, 64, 4, "float32"), Cell((8,) * 2, 60, 20, "float64"))


class Case:
    """The calls that are compared, on one objective.

    Args:
        cell: the size.
        operator: name in `OPERATORS`.
    """

    def __init__(self, cell: Cell, operator: str):
        torch.manual_seed(0)
        dtype = getattr(torch, cell.dtype)
        problem = problems.helmholtz((1, 1))
        points = problem.sample(interior=cell.points, boundary=BOUNDARY).to(dtype=dtype)
        self.objective = Objective(problem, MLP(2, list(cell.widths)).to(dtype), OPERATORS[operator](), points)
        self.objective.attention = torch.rand(cell.points, dtype=dtype)
        self.blocks = BlockGradients(self.objective, cell.blocks)
        self.moment = Moment(0, self.objective, self.objective.begin_step(), self.objective.attention)
        self.plans = [self._plan(index) for index in self.blocks.order.split(self.blocks.block_size)]

    def _plan(self, index: torch.Tensor):
        own = Points(self.objective.points.interior[index], axes=self.objective.points.axes)
        return index, self.objective.operator.plan(own, self.objective.problem.partials)

    def step(self) -> torch.Tensor:
        """Return the gradient of the loss, nothing shared with an earlier call.

        Returns:
            (parameters,).
        """
        return Evaluation(self.objective).gradient

    def loop(self) -> torch.Tensor:
        """Return the interior gradients of all blocks, one forward and backward pass each.

        Returns:
            (B, weights).
        """
        named = dict(self.objective.network.named_parameters())
        selected, rows = [named[name] for name in self.blocks.layers], []
        for index, plan in self.plans:
            residual = self.objective.attention[index, None] * self.objective.interior_residual(plan)
            rows.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(residual.square().mean(), selected)]))
        return torch.stack(rows)

    def calls(self) -> dict[str, Callable[[], object]]:
        """Return what is timed.

        Returns:
            Name -> call.
        """
        whole = block_gradients(self.blocks.blocks)
        without = block_gradients(self.blocks.blocks, gram=False)
        return {
            "step": self.step,
            "blocks": self.blocks,
            "probe": lambda: whole.measure(self.moment),
            "probe_without_gram": lambda: without.measure(self.moment),
            "loop": self.loop,
        }


def measure(cell: Cell, operator: str, budget: float) -> dict[str, object]:
    """Time the calls of one cell in interleaved rounds.

    Args:
        cell: the size.
        operator: name in `OPERATORS`.
        budget: CPU seconds for all rounds of calls below half a second.

    Returns:
        Timings, ratios to the training step by CPU time (median), and how far the block gradients lie from the loop's.
    """
    case = Case(cell, operator)
    own, looped = case.blocks.interior(), case.loop()
    difference = float((own - looped).abs().max() / looped.abs().max())
    timings = {name: timing.as_json() for name, timing in interleave(case.calls(), budget).items()}
    step = timings["step"]["cpu_ms"]
    return {
        **cell._asdict(),
        "operator": operator,
        "ratio_to_step": {name: timing["cpu_ms"] / step for name, timing in timings.items() if name != "step"},
        "largest_difference_from_loop": difference,
        "timings": timings,
    }


def peaks(cell: Cell, operator: str) -> dict[str, float]:
    """Return the most memory that this process has held, after a training step and then after the probe.

    Args:
        cell: the size.
        operator: name in `OPERATORS`.

    Returns:
        MB before, after a step, after the probe too, and of the block gradients themselves. They mean something in
        a fresh process alone.
    """
    torch.set_num_threads(1)
    case = Case(cell, operator)
    found = {"before_mb": _peak()}
    case.step()
    found["step_mb"] = _peak()
    case.calls()["probe"]()
    found["probe_mb"] = _peak()
    itemsize = torch.empty(0, dtype=getattr(torch, cell.dtype)).element_size()
    found["gradients_mb"] = cell.blocks * sum(case.blocks.sizes) * itemsize / 1e6
    return found


def elsewhere(call: Callable, *arguments: object) -> object:
    """Call a function in a fresh process.

    Args:
        call: of this module.
        arguments: for it.

    Returns:
        What it returns.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(call, arguments)


def _peak() -> float:
    """Return the largest resident size so far, in MB; getrusage would count what the parent process held, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Two small sizes: about 10 s.")] = False,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the results here.")] = None,  # noqa: UP045
) -> dict[str, object]:
    """Measure, print a table, and return the results.

    Args:
        quick: two small sizes.
        json_file: where to keep the results.

    Returns:
        The machine, every cell, and the memory that the last one takes, which --quick leaves out.
    """
    torch.set_num_threads(1)
    cells, budget = (QUICK, 0.05) if quick else (CELLS, BUDGET_S)
    results: dict[str, object] = {"machine": describe_machine(), "boundary_points": BOUNDARY}
    results["cells"] = found = [measure(cell, operator, budget) for cell in cells for operator in OPERATORS]
    results["memory"] = {} if quick else {operator: elsewhere(peaks, cells[-1], operator) for operator in OPERATORS}
    lines = []
    for cell, entry in zip((cell for cell in cells for _ in OPERATORS), found, strict=True):
        ratios = entry["ratio_to_step"]
        shown = [f"{ratios[name]:.2f}" for name in ("blocks", "probe_without_gram", "probe", "loop")]
        lines.append((cell.label, entry["operator"], f"{entry['timings']['step']['cpu_ms']:.2f}", *shown))
    heads = ("points/blocks", "operator", "step ms", "blocks", "no Gram", "probe", "loop")
    table("block gradients: times in training steps", heads, lines)
    for operator, memory in results["memory"].items():
        more = memory["probe_mb"] - memory["step_mb"]
        print(f"{cells[-1].label}, {operator}: the probe takes {more:.0f} MB more than a training step")
    keep(results, json_file)
    return results


if __name__ == "__main__":
    typer.run(main)
