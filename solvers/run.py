"""What a training came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn


@dataclass(frozen=True)
class Run:
    """A finished training.

    Args:
        network: trained.
        status: "complete" or "diverged".
        reason: why it ended, where the optimizer or divergence ended it.
        step: number of updates made, those before a resume included.
        loss: last loss.
        rel_l2: last relative L2 error, NaN where no solution is known or nothing was recorded.
        seconds: wall time of the loop, since the resume of a resumed run.
        recording_seconds: of which spent measuring and writing, checkpoints included; what probes set up once, such as
            a reference solution, is not in it.
        path: the trajectory, or None.
        coefficients: what the unknown coefficients of the problem came to, by name.
    """

    network: nn.Module
    status: str
    reason: str
    step: int
    loss: float
    rel_l2: float
    seconds: float
    recording_seconds: float
    path: Path | None
    coefficients: Mapping[str, float] = field(default_factory=dict)

    @property
    def recording_share(self) -> float:
        """Recording time over training time: the overhead that recording added."""
        return self.recording_seconds / max(self.seconds - self.recording_seconds, 1e-9)
