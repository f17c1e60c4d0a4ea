"""Run a case and write its trajectory: a training, or a least-squares solve."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from analyses.coefficients import coefficient_lines
from analyses.config import RunConfig, TrainingSection, UsageError
from analyses.construction import build_network, build_operator, build_optimizer, build_points, build_problem
from analyses.terminal import brief_error, error_text, say
from dynamics.errors import WAVES
from dynamics.segments.segment_directory import segmented_size
from solvers import Every, RandomFeatures, ResidualBasedAttention, solve_least_squares, train
from solvers.discrete_solution import solve_on_nodes
from solvers.objective import Objective
from solvers.operators import RBFFD, Operator
from solvers.optimizers import Optimizer
from solvers.points import Points
from solvers.probes import Probe, activations, lr_cut, standard_probes
from solvers.problems import Problem
from solvers.scoring import Score
from solvers.spectra_probe import jacobian_spectrum


@dataclass(frozen=True)
class Outcome:
    """What a run left behind.

    Args:
        path: the trajectory.
        status: "complete" or "diverged".
        reason: why it ended, where it ended early.
    """

    path: Path
    status: str
    reason: str = ""


def run(
    config: RunConfig,
    output: Path,
    *,
    overwrite: bool = False,
    checkpoint: float | None = None,
    resume: bool = False,
    anyway: bool = False,
    strict: bool = True,
    progress: bool = True,
) -> Outcome:
    """Do the run that a configuration describes, print what came out, and return where it is.

    Args:
        config: checked.
        output: path of the trajectory.
        overwrite: replace an existing file.
        checkpoint: seconds between checkpoints of a training; None: there are none.
        resume: go on with the trajectory from its latest checkpoint.
        anyway: resume also where versions, threads or rounding differ.
        strict: end a training whose file cannot be written on; else it goes on unrecorded.
        progress: show a progress bar on a terminal.

    Returns:
        The outcome.

    Raises:
        UsageError: names, options or a combination that make no run.
        FileExistsError: the output exists.
    """
    torch.set_num_threads(config.threads)
    problem, operator = build_problem(config), build_operator(config)
    network, points = build_network(config, problem), build_points(config, problem)
    if isinstance(network, RandomFeatures):
        if resume:
            raise UsageError("--resume has no meaning for a least-squares solve: it has no checkpoints, leave it out")
        return _solve(config, problem, network, operator, points, output, overwrite)
    if config.least_squares is not None:
        raise UsageError(
            f"section [least_squares] has no meaning for the network {config.network.name!r}, which is trained: remove "
            f"it, or take random-features or local-features"
        )
    optimizer = build_optimizer(config)
    attention = ResidualBasedAttention(**config.attention.model_dump()) if config.attention else None
    # A resumed file has it already.
    direct = {} if resume else _direct_solve(problem, points, operator)
    finished = train(
        problem,
        network,
        operator,
        optimizer,
        points=points,
        steps=config.training.steps,
        probes=lambda objective: _probes(config.training, objective, optimizer),
        attention=attention,
        record=output,
        overwrite=overwrite,
        checkpoint=checkpoint,
        resume=resume,
        anyway=anyway,
        strict=strict,
        config={"case": _case(config), **direct},
        seed=config.seed,
        device=config.device,
        dtype=getattr(torch, config.dtype),
        progress=progress,
    )
    say(
        f"{config.title or problem.name}: {finished.status} after {finished.step} step{'s' * (finished.step != 1)} in "
        f"{finished.seconds:.1f} s" + (f" ({finished.reason})" if finished.reason else "")
    )
    say(
        f"  loss {finished.loss:.2e}, relative L2 error {error_text(finished.rel_l2, problem.solution_floor)}"
        f"{_own_error(direct, problem)}, "
        f"recording took {finished.recording_share:.1%} of the training time"
    )
    if problem.solution is not None and math.isfinite(finished.rel_l2):
        score = Score(problem, next(finished.network.parameters()))
        errors = score(finished.network)
        _say_errors(errors.max_error, errors.bands, problem, score.solution_max)
    for line in coefficient_lines(problem, finished.coefficients):
        say(f"  {line}")
    _wrote(output)
    return Outcome(output, finished.status, finished.reason)


def _probes(training: TrainingSection, objective: Objective, optimizer: Optimizer) -> tuple[Probe, ...]:
    every = None if training.every is None else Every(training.every)
    chosen = [*standard_probes(objective, training.blocks, optimizer, every)]
    if training.spectra is not None:
        chosen.append(jacobian_spectrum(training.spectra))
    if training.activations is not None:
        chosen.append(activations(training.activations))
    if training.lr_cut is not None:
        chosen.append(lr_cut(training.lr_cut))
    return tuple(chosen)


def _solve(config, problem, network, operator, points, output, overwrite) -> Outcome:
    unused = [name for name in ("optimizer", "training", "attention", "weights") if getattr(config, name)]
    if unused or config.dtype != "float64":
        what = f"section [{unused[0]}]" if unused else f"dtype {config.dtype!r}"
        raise UsageError(
            f"{what} has no meaning for random features, which are solved by least squares in float64: remove it"
        )
    options = config.least_squares.model_dump() if config.least_squares else {}
    direct = _direct_solve(problem, points, operator)
    solution = solve_least_squares(
        problem,
        network,
        operator,
        points=points,
        **options,
        record=output,
        overwrite=overwrite,
        config={"case": _case(config), **direct},
        device=config.device,
    )
    solves = "" if solution.stopped == "linear" else f", {solution.iterations} Gauss-Newton steps ({solution.stopped})"
    say(f"{config.title or problem.name}: rank {solution.rank} of {len(solution.singular_values)}{solves}")
    say(
        f"  residual {solution.residual:.2e} (with exact derivatives {solution.exact_residual:.2e}), "
        f"relative L2 error {error_text(solution.rel_l2, problem.solution_floor)}{_own_error(direct, problem)}"
    )
    if problem.solution is not None:
        _say_errors(solution.max_error, solution.error_bands, problem, solution.solution_max)
    _wrote(output)
    return Outcome(output, "complete")


def _case(config: RunConfig) -> dict[str, object]:
    """Return the configuration for the record: where this machine keeps its weights is nobody else's business."""
    case = config.model_dump()
    case["operator"].pop("cache", None)
    return case


def _direct_solve(problem: Problem, points: Points, operator: Operator) -> dict[str, dict[str, float]]:
    """Solve the discretisation without a network where it is square, and return what the record says of it."""
    if not isinstance(operator, RBFFD):
        return {}
    rows = sum(len(rows) for rows in (points.interior, points.boundary, points.ghost))
    times = 1 if points.times is None else len(points.times)
    told = "" if times == 1 else f" at {times} times"
    say(f"solving the discretisation of {problem.name} directly: order {operator.order}, {rows // times} nodes{told}")
    start = time.perf_counter()
    try:
        found = solve_on_nodes(problem, points, operator)
    except ValueError as error:
        say(f"  no direct solve: {error}")
        return {}
    seconds = time.perf_counter() - start
    error = brief_error(found.rel_l2, problem.solution_floor, 1)
    say(f"  relative L2 error at the nodes {error}, in {seconds:.2f} s")
    told = {"seconds": seconds, "iterations": found.iterations, "residual": found.residual}
    return {"discretisation": told | ({"rel_l2": found.rel_l2} if math.isfinite(found.rel_l2) else {})}


def _own_error(direct: dict[str, dict[str, float]], problem: Problem) -> str:
    own = direct.get("discretisation", {}).get("rel_l2")
    return "" if own is None else f" (the discretisation's own: {brief_error(own, problem.solution_floor, 1)})"


def _say_errors(largest: float, bands: tuple[float, ...], problem: Problem, scale: float) -> None:
    """Print the largest error, whose floor is the relative one times the largest |u*|, and the error by frequency."""
    floor = problem.solution_floor
    told = [f"{waves} {brief_error(band, floor, 1)}" for waves, band in zip(WAVES.values(), bands, strict=True)]
    by_waves = f"; L2 error by waves: {', '.join(told)}" if all(map(math.isfinite, bands)) else ""
    say(f"  largest error {brief_error(largest, floor * scale)}{by_waves}")


def _wrote(path: Path) -> None:
    say(f"  wrote {path} ({segmented_size(path) / 1e6:.2f} MB)")
