"""Reproduction of "A Quasilinear Algorithm for Computing Higher-Order Derivatives" (arXiv 2412.09752), by claims."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from analyses.benchmarks.machine import describe_machine
from analyses.reproduce import chebyshev_profile
from analyses.reproduce import n_tangentprop_profile_figures as profiles_drawn
from analyses.reproduce import n_tangentprop_runtime_figures as runtimes_drawn
from analyses.reproduce.claims import Claim
from analyses.reproduce.claims_table import markdown, show
from analyses.reproduce.n_tangentprop_ablation import TRAPS, ablation, show_ablation
from analyses.reproduce.n_tangentprop_end_to_end import EndToEnd, end_to_end
from analyses.reproduce.n_tangentprop_profile_claims import baseline_claims, profile_claims, replay_claims
from analyses.reproduce.n_tangentprop_profiles import (
    Drawn,
    Found,
    Protocol,
    drawn,
    protocol,
    record_profile,
    solve,
)
from analyses.reproduce.n_tangentprop_replay import Replay, replay
from analyses.reproduce.n_tangentprop_runtime_claims import runtime_claims
from analyses.reproduce.n_tangentprop_runtimes import Runtime, measure_runtimes
from analyses.reproduce.n_tangentprop_settings import FULL, QUICK, Size
from analyses.reproduce.n_tangentprop_spectra import Spectra, measure_spectra, show_spectra, spectra_figure
from analyses.reproduce.n_tangentprop_tables import show_end_to_end, show_profiles
from analyses.reproduce.n_tangentprop_training import Trained
from analyses.reproduce.outputs import prepare
from analyses.terminal import json_text, parts, say

PAPER = "arXiv 2412.09752"
RECORDS = ("runtimes.json", "profiles.json", "replay.json", "ablation.json", "spectra.json")
OUTPUTS = ("claims.json", "claims.md", *RECORDS)
FIGURES = (*(f"figure-{number}.png" for number in range(1, 11)), "spectra.png")
RUNS = "runs"
"""Folder of the trajectories."""


@dataclass(eq=False)
class Measured:
    """All that a reproduction measures, filled part by part."""

    runtimes: list[Runtime] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    recorded: list[Drawn] = field(default_factory=list)
    protocols: list[Protocol] = field(default_factory=list)
    replays: list[Replay] = field(default_factory=list)
    ends: list[EndToEnd] = field(default_factory=list)
    ablation: list[Trained] = field(default_factory=list)
    baseline: list[tuple[str, chebyshev_profile.ChebyshevProfile]] = field(default_factory=list)
    spectra: list[Spectra] = field(default_factory=list)


def reproduce(folder: Path, *, full: bool = False, seeds: int | None = None, overwrite: bool = False) -> list[Claim]:
    """Measure every claim and write the table, the records behind it, the trajectories and the figures.

    Args:
        folder: of the outputs; made where absent.
        full: the paper's grid and protocol, hours on one core; else shortened ones, in minutes.
        seeds: of the profiles; 3 by default, below which no row of theirs is decided.
        overwrite: replace what an earlier reproduction wrote there.

    Returns:
        The claims.

    Raises:
        FileExistsError: an output exists and overwrite is False.

    Source: K. Chickering, arXiv 2412.09752, read whole, and the author's code.
    """
    return measure(folder, FULL if full else QUICK, full=full, seeds=seeds, overwrite=overwrite)


def measure(folder: Path, size: Size, *, full: bool, seeds: int | None = None, overwrite: bool = False) -> list[Claim]:
    """Measure the claims at some size.

    Args:
        folder: of the outputs; made where absent.
        size: what is measured.
        full: whether this is the paper's size, for the record.
        seeds: instead of the size's.
        overwrite: replace what an earlier reproduction wrote there.

    Returns:
        The claims.

    Raises:
        FileExistsError: an output exists and overwrite is False.
    """
    paths = {name: folder / name for name in (*OUTPUTS, *FIGURES)}
    prepare(folder, paths.values(), overwrite)
    runs = folder / RUNS
    runs.mkdir(exist_ok=True)
    count = size.seeds if seeds is None else seeds
    start, cpu = time.perf_counter(), time.process_time()
    with _one_thread(), parts(size.parts(count)) as begin:
        measured = _measured(size, count, runs, begin)
    claims = _claims(measured, size)
    found = {
        "paper": PAPER,
        "full": full,
        "seeds": count,
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "machine": describe_machine(),
        "claims": [claim.plain() for claim in claims],
    }
    paths["claims.json"].write_text(json_text(found) + "\n")
    paths["claims.md"].write_text(markdown(claims))
    for name, record in _records(measured).items():
        paths[name].write_text(json_text(record, indent=None) + "\n")
    _draw(paths, measured, runs)
    _show(measured, size, claims)
    for path in paths.values():
        if path.exists():
            say(f"wrote {path}")
    return claims


def _measured(size: Size, seeds: int, runs: Path, begin: Callable[[str], None]) -> Measured:
    measured = Measured(runtimes=measure_runtimes(size.runtimes, begin))
    for k in size.profiles:
        begin(f"k = {k}: recorded")
        measured.recorded.append(record_profile(k, 0, runs))
        # Seeds inside: a profile's seeds see the same machine.
        for seed in range(seeds):
            begin(f"k = {k}, seed {seed}: loss with all orders, SSBroyden")
            measured.found.append(solve(k, seed))
    for k in size.published:
        for seed in range(seeds):
            begin(f"k = {k}, seed {seed}: published protocol")
            measured.protocols.append(protocol(k, seed, size.protocol, runs, size.rate))
    for k, most in size.replays.items():
        begin(f"k = {k}: replay")
        measured.replays.append(replay(runs / f"published-k{k}-seed0.h5", k, most))
    for k, steps in size.ends.items():
        begin(f"k = {k}: Adam and L-BFGS under both operators")
        measured.ends += end_to_end(k, steps)
    measured.ablation = ablation(size.ablated, range(size.ablation_seeds), size.ablation_steps, progress=begin)
    begin("Chebyshev baseline")
    measured.baseline = chebyshev_profile.measure(size.profiles)
    begin("spectra")
    measured.spectra = measure_spectra(1, 0, size.spectra, runs)
    return measured


def _claims(measured: Measured, size: Size) -> list[Claim]:
    return [
        *profile_claims(measured.found, measured.protocols, size.protocol),
        *runtime_claims(measured.runtimes),
        *replay_claims(measured.replays),
        *baseline_claims(measured.baseline, measured.ablation),
    ]


def _records(measured: Measured) -> dict[str, object]:
    return {
        "runtimes.json": [record.plain() for record in measured.runtimes],
        "profiles.json": {
            "found": [each.plain() for each in measured.found],
            "published_protocol": [each.plain() for each in measured.protocols],
            "baseline": [{"exponent": name, **asdict(each)} for name, each in measured.baseline],
        },
        "replay.json": {
            "replays": [each.plain() for each in measured.replays],
            "end_to_end": [asdict(each) for each in measured.ends],
        },
        "ablation.json": [run.plain() for run in measured.ablation],
        "spectra.json": [each.plain() for each in measured.spectra],
    }


def _draw(paths: dict[str, Path], measured: Measured, runs: Path) -> None:
    for name in FIGURES:
        # What is not drawn this time must not look as if it were.
        paths[name].unlink(missing_ok=True)
    others = [drawn(each, runs) for each in measured.protocols if each.run.seed == 0]
    figures = {f"figure-{n}.png": runtimes_drawn.runtime_figure(measured.runtimes, n) for n in (1, 2, 3)}
    figures |= {f"figure-{n}.png": runtimes_drawn.gains_figure(measured.runtimes, n) for n in (4, 5)}
    first = [each for each in (*measured.recorded, *others) if each.k == 0]
    figures["figure-6.png"] = profiles_drawn.training_figure(first, measured.replays)
    for ours in measured.recorded:
        number = profiles_drawn.NUMBERS.get(ours.k)
        name = f"figure-{number}.png" if number else f"profile-{ours.k}.png"
        figures[name] = profiles_drawn.profile_figure([ours, *(each for each in others if each.k == ours.k)])
    figures["spectra.png"] = spectra_figure(measured.spectra, runs)
    for name, figure in figures.items():
        figure.savefig(paths.get(name, runs.parent / name), dpi=110)


def _show(measured: Measured, size: Size, claims: list[Claim]) -> None:
    show_profiles(measured.found, measured.protocols, size.protocol)
    chebyshev_profile.show(measured.baseline)
    say("The condition of smoothness at 0 selects lambda, not the network: without it both fail, at a small residual.")
    show_ablation(measured.ablation)
    for trap in TRAPS:
        say(trap)
    show_end_to_end(measured.replays, measured.ends)
    show_spectra(measured.spectra)
    show(f"n-TangentProp ({PAPER})", claims)
    say("Intervals of runtimes are over rounds, those of replays over recorded parameters, the others over seeds.")


@contextmanager
def _one_thread() -> Iterator[None]:
    """CPU seconds of several threads would be added up."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
