"""Show what a trajectory holds: streams, rows, variables, provenance."""

from __future__ import annotations

import json
from pathlib import Path

from analyses.terminal import say, table
from dynamics import open_trajectory
from dynamics.coefficients import known_coefficients


def show(path: Path) -> None:
    """Print the contents of a trajectory without loading its arrays.

    Args:
        path: the trajectory.

    Raises:
        TrajectoryError: not a trajectory that can be read.
    """
    with open_trajectory(path) as trajectory:
        config = json.loads(trajectory.attrs["config"])
        say(f"{path}: {trajectory.attrs['status']}, {path.stat().st_size / 1e6:.2f} MB")
        names = ("created", "dtype", "device", "seed", "host", "git_commit")
        say("  " + ", ".join(f"{name} {trajectory.attrs[name]}" for name in names if trajectory.attrs.get(name) != ""))
        if problem := config.get("problem", {}).get("name"):
            say(f"  problem {problem}, operator {config.get('operator', {}).get('name')}")
        if found := known_coefficients(trajectory):
            say("  coefficients " + ", ".join(f"{one.name} {one.last:.10g}" for one in found))
        rows = []
        for name, group in sorted(trajectory.children.items()):
            index = next((dim for dim in ("step", "evaluation") if dim in group.sizes), None)
            sizes = {str(dim): size for dim, size in group.sizes.items() if dim != index}
            count = str(group.sizes[index]) if index else "-"
            rows.append(
                (name, count, ", ".join(map(str, group.data_vars)), ", ".join(f"{d} {s}" for d, s in sizes.items()))
            )
        table("", ("stream", "rows", "variables", "other dimensions"), rows)
