"""Reproduction of "Accelerated Training of PINNs using Meshless Discretizations" (arXiv 2205.09332), claim by claim."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch

from analyses.benchmarks.machine import describe_machine
from analyses.reproduce.claims import Claim
from analyses.reproduce.claims_table import markdown, show
from analyses.reproduce.dt_pinn_ground import Floor, Ground
from analyses.reproduce.dt_pinn_laplacian import Laplacian, Plans
from analyses.reproduce.dt_pinn_laplacian_claims import laplacian_claims
from analyses.reproduce.dt_pinn_pairs import TITLES
from analyses.reproduce.dt_pinn_settings import DISCRETE, FULL, QUICK, Size, Study
from analyses.reproduce.dt_pinn_training import Trained, train_arm
from analyses.reproduce.dt_pinn_training_claims import training_claims
from analyses.reproduce.outputs import prepare
from analyses.terminal import json_text, parts, say, table
from solvers.device import available

PAPER = "arXiv 2205.09332"
OUTPUTS = ("claims.json", "claims.md", "laplacian.json", "runs.json")
FIGURES = ("laplacian.png", "linear.png", "epochs.png", "nonlinear.png", "heat.png", "curves.png")


def reproduce(
    folder: Path, *, full: bool = False, seeds: int | None = None, device: str = "cpu", overwrite: bool = False
) -> list[Claim]:
    """Measure every claim and write the table, the records behind it and the figures.

    Args:
        folder: of the outputs; made where absent.
        full: the paper's sizes, about 30 hours on one core; else smaller ones, in minutes.
        seeds: of the weights; 3 by default, below which no row is decided.
        device: "cpu", where CPU seconds are counted, or "cuda", where wall seconds are.
        overwrite: replace what an earlier reproduction wrote there.

    Returns:
        The claims.

    Raises:
        FileExistsError: an output exists and overwrite is False.
        ValueError: an absent device.

    Source: R. Sharma, V. Shankar, arXiv 2205.09332, read whole, and the authors' code.
    """
    return measure(folder, FULL if full else QUICK, full=full, seeds=seeds, device=device, overwrite=overwrite)


def measure(
    folder: Path, size: Size, *, full: bool, seeds: int | None = None, device: str = "cpu", overwrite: bool = False
) -> list[Claim]:
    """Measure the claims at some size.

    Args:
        folder: of the outputs; made where absent.
        size: what is measured.
        full: whether these are the paper's sizes, for the record.
        seeds: instead of the size's.
        device: "cpu" or "cuda".
        overwrite: replace what an earlier reproduction wrote there.

    Returns:
        The claims.

    Raises:
        FileExistsError: an output exists and overwrite is False.
        ValueError: an absent device.
    """
    paths = {name: folder / name for name in (*OUTPUTS, *FIGURES)}
    device, seeds = str(available(device)), size.seeds if seeds is None else seeds
    prepare(folder, paths.values(), overwrite)
    start, cpu = time.perf_counter(), time.process_time()
    trainings = sum(len(study.counts) * len(study.arms) for study in size.studies) * seeds
    with _one_thread(device), parts(len(size.depths) + trainings) as begin:
        depths = _laplacians(size, seeds, device, begin)
        floors, runs = _trainings(size, seeds, device, begin)
    claims = [*laplacian_claims(depths, size.nodes), *training_claims(runs, floors)]
    found = {
        "paper": PAPER,
        "full": full,
        "seeds": seeds,
        "device": _named(device),
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "machine": describe_machine(),
        "claims": [claim.plain() for claim in claims],
    }
    paths["claims.json"].write_text(json_text(found) + "\n")
    paths["claims.md"].write_text(markdown(claims))
    paths["laplacian.json"].write_text(json_text([asdict(each) for each in depths], indent=None) + "\n")
    kept = {"runs": [asdict(run) for run in runs], "floors": [asdict(floor) for floor in floors]}
    paths["runs.json"].write_text(json_text(kept, indent=None) + "\n")
    _draw(paths, size, depths, runs, floors)
    _show_floors(floors)
    show(f"Discretely-trained PINNs ({PAPER})", claims)
    for path in paths.values():
        say(f"wrote {path}")
    return claims


def _laplacians(size: Size, seeds: int, device: str, begin: Callable[[str], None]) -> list[Laplacian]:
    plans, found = Plans(size.nodes, device), []
    for depth in size.depths:
        begin(f"one Laplacian at depth {depth}")
        found.append(plans.measure(depth, seeds))
    return found


def _trainings(size: Size, seeds: int, device: str, begin: Callable[[str], None]) -> tuple[list[Floor], list[Trained]]:
    floors, runs = [], []
    for study, count in _grounds(size):
        ground = Ground(study, count, device)
        orders = sorted({arm.order for arm in study.arms if arm.method == DISCRETE})
        floors += [ground.floor(order) for order in orders]
        # Seeds outside, so that a machine that drifts hits all arms alike.
        for seed in range(seeds):
            for arm in study.arms:
                begin(f"{TITLES[study.name]}, N = {count:,}, {arm.label}, seed {seed}")
                runs.append(train_arm(ground, arm, seed))
    return floors, runs


def _grounds(size: Size) -> Iterator[tuple[Study, int]]:
    for study in size.studies:
        for count in study.counts:
            yield study, count


@contextmanager
def _one_thread(device: str) -> Iterator[None]:
    """CPU seconds of several threads would be added up."""
    threads = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _named(device: str) -> str:
    return device if device == "cpu" else torch.cuda.get_device_name(device)


def _show_floors(floors: list[Floor]) -> None:
    rows = [
        (
            TITLES[floor.study],
            f"{floor.count:,}",
            str(floor.order),
            f"{floor.rel_l2:.1e}",
            f"{floor.seconds:.2f}",
            f"{floor.noise:.0e}",
        )
        for floor in floors
    ]
    header = ("equation", "N", "p", "direct solve, rel. L2", "s", "fp32 noise of the Laplacian / |u|")
    table("Discretisation floors, and what fp32 adds to a residual", header, rows)


def _draw(paths: dict[str, Path], size: Size, depths, runs: list[Trained], floors: list[Floor]) -> None:
    from analyses.reproduce import dt_pinn_figures as draw
    from analyses.reproduce import dt_pinn_training_figures as training

    for name in FIGURES:
        # What is not drawn this time must not look as if it were.
        paths[name].unlink(missing_ok=True)
    studied = {study.name for study in size.studies}
    figures = {"laplacian.png": draw.laplacian_figure(depths, size.nodes)}
    if "linear" in studied:
        figures["linear.png"] = training.sizes_figure(runs, floors, "linear", "Linear Poisson equation, L-BFGS")
        figures["epochs.png"] = training.epochs_figure(runs, "Linear Poisson equation: iterations to the lowest error")
        figures["curves.png"] = draw.curves_figure(runs, floors, "linear", "Linear Poisson equation, L-BFGS")
    if "nonlinear" in studied:
        figures["nonlinear.png"] = training.sizes_figure(
            runs, floors, "nonlinear", "Nonlinear Poisson equation, L-BFGS"
        )
    if "heat" in studied:
        figures["heat.png"] = training.orders_figure(runs, floors, "Heat equation, 25 times, L-BFGS")
    for name, figure in figures.items():
        figure.savefig(paths[name], dpi=110)
