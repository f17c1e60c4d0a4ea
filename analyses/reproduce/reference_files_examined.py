"""All that is found out about one file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from analyses.reproduce.reference_files_distance import Distance, bounded, measure
from analyses.reproduce.reference_files_identity import Identified, identify
from analyses.reproduce.reference_files_modes import Modes, modes
from analyses.reproduce.reference_files_published import KNOWN
from analyses.reproduce.reference_files_reading import read_reference
from analyses.reproduce.reference_files_starts import Start, starts

LONGEST = 19


@dataclass(frozen=True, eq=False)
class Examined:
    """One file, measured.

    Args:
        found: problem and coefficient.
        distance: from our reference.
        modes: what its spectrum says.
        starts: of Allen-Cahn only.
    """

    found: Identified
    distance: Distance
    modes: Modes
    starts: tuple[Start, ...]

    @property
    def label(self) -> str:
        """What the file is, where it is known, else its name."""
        name = KNOWN.get(self.found.file.sha256, self.found.file.name)
        return name if len(name) <= LONGEST else name[: LONGEST - 2] + ".."

    @property
    def problem(self) -> str:
        """Name of the problem."""
        return self.found.problem.name

    @property
    def relative(self) -> str:
        """Relative L2 distance as text."""
        return bounded(self.distance.relative, self.distance.floor)

    def plain(self) -> dict[str, object]:
        """Return everything but the arrays.

        Returns:
            Values for JSON; no paths.
        """
        found, distance, spectrum = self.found, self.distance, self.modes
        file, problem = found.file, found.problem
        return {
            "name": file.name,
            "known": KNOWN.get(file.sha256, ""),
            "sha256": file.sha256,
            "taken": file.taken,
            "x": [float(file.x[0]), float(file.x[-1]), len(file.x)],
            "t": [float(file.t[0]), float(file.t[-1]), len(file.t)],
            "problem": problem.name,
            "settings": dict(problem.settings),
            "reference": {
                "floor": problem.solution_floor,
                "floor_origin": problem.floor_origin,
                "key": problem.reference.key if problem.reference else "",
            },
            "fit": asdict(found.fit) | {"value": found.fitted, "value_bar": found.bar},
            "distance": {
                "relative_l2": distance.relative,
                "max": distance.largest,
                "at": [distance.x, distance.t],
                "floor": distance.floor,
                "at_floor": distance.at_floor,
                "shares": distance.shares,
                "relative_l2_elsewhere": distance.elsewhere,
                "max_at_start": distance.start,
            },
            "modes": {
                "points": spectrum.points,
                "time": spectrum.time,
                "edge": spectrum.edge,
                "our_edge": spectrum.our_edge,
                "same_modes": spectrum.same,
                "same_modes_own_error": spectrum.same_error,
                "resolved_from_own_start": spectrum.resolved,
                "verdict": spectrum.verdict,
            },
            "starts": [asdict(start) for start in self.starts],
        }


def examine(path: Path, problem: str | None = None, coefficient: float | None = None) -> Examined:
    """Read a file, tell its problem, and measure its distance from the solution.

    Args:
        path: of the file.
        problem: name, where the caller knows it.
        coefficient: of the variant; by default that of the benchmark.

    Returns:
        What was found.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read, or solves none of the problems as it is.
    """
    found = identify(read_reference(path), problem, coefficient)
    distance = measure(found)
    spectrum = modes(found, distance)
    unresolved = found.problem.name == "allen-cahn" and spectrum.verdict == str(spectrum.points)
    return Examined(found, distance, spectrum, tuple(starts(found, distance)) if unresolved else ())
