"""The demonstration: two solves, two trainings, their comparison and diagnosis; under a minute on two cores."""

from __future__ import annotations

import time
from pathlib import Path

from analyses.compare import compare_files
from analyses.config import load
from analyses.diagnose import diagnose_file
from analyses.run import run
from analyses.terminal import say

CASES = ("poisson-ad", "poisson-fd", "helmholtz-rba", "burgers-adam")


def demo(folder: Path, *, quick: bool = False, overwrite: bool = False) -> dict[str, object]:
    """Run the demonstration's cases into a folder, then compare and diagnose what was written.

    Args:
        folder: of the trajectories and figures; made where absent.
        quick: a short form for tests: 600 steps of Helmholtz, 50 of Burgers.
        overwrite: replace what an earlier demonstration wrote there.

    Returns:
        Case -> path of its trajectory, "comparison" -> its numbers, "findings" -> case -> findings.

    Raises:
        FileExistsError: an output exists and overwrite is False.
    """
    start = time.perf_counter()
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; expected a folder: choose another name")
    folder.mkdir(parents=True, exist_ok=True)
    paths = {case: folder / f"{case}.h5" for case in CASES}
    figures = {case: folder / f"{case}.png" for case in ("helmholtz-rba", "burgers-adam")}
    figures["comparison"] = folder / "poisson-ad-and-fd.png"
    written = [*paths.values(), *figures.values()]
    if existing := [path for path in written if path.exists() and not overwrite]:
        raise FileExistsError(f"{existing[0]} exists; expected a new folder: choose another one or pass --overwrite")
    for case, path in paths.items():
        config = load(case)
        if quick and config.training:
            config.training.steps = {"helmholtz-rba": 600, "burgers-adam": 50}[case]
        run(config, path, overwrite=overwrite)
    say()
    comparison = compare_files(paths["poisson-ad"], paths["poisson-fd"], figure=figures["comparison"])
    say()
    findings = {case: diagnose_file(paths[case], figure=figures[case]) for case in ("helmholtz-rba", "burgers-adam")}
    say()
    say(f"the demonstration took {time.perf_counter() - start:.0f} s and wrote")
    for path in written:
        say(f"  {path}")
    return {**paths, "comparison": comparison, "findings": findings}
