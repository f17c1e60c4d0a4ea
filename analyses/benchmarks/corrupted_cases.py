"""The corrupted files of the benchmark: healthy samples, and a schedule of what is done to them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from analyses.benchmarks.damage import DAMAGE, spliced
from analyses.benchmarks.hostile import INSTEAD, MADE
from dynamics import Recorder
from dynamics.copies.copying import copy_rows
from dynamics.format import Stream

ROWS = 40
CLOSED = ("small", "gzip")
HOUR = 3600.0
LARGE = (
    "an attribute of 40 MB",
    "an attribute of 40 texts of 1 MB",
    "100,000 attributes",
    "12,000 groups",
    "20,000 soft links",
    "3,000 groups deep",
    "1,000,000 labels",
    "20,000 late columns",
    "a chunk that unfolds to more than it says",
    "2 GB, most of it a hole",
)
"""Kinds that take seconds to make, or to give up."""
SIMILAR = (
    "filter szip",
    "filter nbit",
    "filter scaleoffset",
    "external link as status",
    "hard links in a deep circle",
    "region references",
    "counter of 2^62",
    "status of another shape",
    "version of 20 digits",
    "attributes of other types",
    "named type",
    "compound type",
    "a dimension of 1e17",
    "chunks of 2 GB",
    "link to itself",
)
"""Kinds of which another one is much the same."""


@dataclass(frozen=True)
class Case:
    """One corrupted file.

    Args:
        kind: what is done to it.
        sample: healthy file that it is made of.
        fresh: whether it looks as if it were being written right now, where it is not closed.
        damaged: whether its bytes are damaged on top.
    """

    kind: str
    sample: str
    fresh: bool = False
    damaged: bool = False


def write_samples(folder: Path) -> dict[str, Path]:
    """Write the healthy files.

    Args:
        folder: where.

    Returns:
        Path by name: small and gzip are closed; unclosed and late are not, and late has entries of `/late`.
    """
    samples = {name: folder / f"{name}.h5" for name in (*CLOSED, "unclosed", "late")}
    with _written(folder / "a.h5", late=False):
        shutil.copy(folder / "a.h5", samples["unclosed"])
    with _written(folder / "b.h5", late=True):
        shutil.copy(folder / "b.h5", samples["late"])
    shutil.copy(folder / "b.h5", samples["small"])
    copy_rows(str(samples["small"]), str(samples["gzip"]), compression="gzip")
    return samples


def write_secrets(folder: Path) -> None:
    """Write the files that hostile files point at.

    Args:
        folder: where.
    """
    with h5py.File(folder / "secret.h5", "w") as file:
        file["secret"] = np.arange(4.0)
        file.attrs["text"] = "SECRET"
    (folder / "secret.txt").write_text("SECRET " * 1000)


def schedule(count: int, seed: int, leave_out: Collection[str] = ()) -> list[Case]:
    """Plan the files: one of every kind first, then random ones, two of three with damaged bytes alone.

    Args:
        count: how many, as long as every kind has its turn.
        seed: of the choice.
        leave_out: kinds that have no turn.

    Returns:
        The cases.
    """
    rng = np.random.default_rng(seed)
    samples = (*CLOSED, "unclosed", "late")
    damages, made = (*DAMAGE, "spliced"), (*MADE, *INSTEAD)
    made = tuple(kind for kind in made if kind not in leave_out)
    cases = [Case(kind, samples[place % 4], place == 2) for place, kind in enumerate(damages)]
    cases += [Case(kind, CLOSED[place % 2]) for place, kind in enumerate(made)]
    while len(cases) < count:
        if rng.random() < 2 / 3:
            fresh = rng.random() < 0.05
            cases.append(Case(str(rng.choice(damages)), str(rng.choice(samples)), bool(fresh)))
        else:
            cases.append(Case(str(rng.choice(made)), str(rng.choice(CLOSED)), damaged=True))
    return cases


class Workshop:
    """Makes the files of a schedule.

    Args:
        folder: for the samples, and for hostile files that are made once.
        outside: folder that nothing may touch.
        seed: of the damage.
    """

    def __init__(self, folder: Path, outside: Path, seed: int):
        self.folder, self.outside = folder, outside
        self.rng = np.random.default_rng(seed)
        self.samples = write_samples(folder)
        self._made: dict[tuple[str, str], Path] = {}

    def make(self, case: Case, path: Path) -> None:
        """Make one file.

        Args:
            case: what.
            path: where.
        """
        shutil.copy(self._base(case), path)
        if case.kind in INSTEAD:
            INSTEAD[case.kind](path, self.outside)
        elif case.kind == "spliced":
            spliced(path, self.rng, self.samples[str(self.rng.choice(list(self.samples)))].read_bytes())
        elif case.kind in DAMAGE:
            DAMAGE[case.kind](path, self.rng)
        # Of larger ones, this process would hold all bytes.
        if case.damaged and path.is_file() and not path.is_symlink() and 0 < path.stat().st_size < 1 << 27:
            DAMAGE[str(self.rng.choice(list(DAMAGE)))](path, self.rng)
        if path.is_file() and not path.is_symlink() and not case.fresh:
            then = path.stat().st_mtime - HOUR
            os.utime(path, (then, then))

    def _base(self, case: Case) -> Path:
        """Return the file to start from; those that take long to make are made once."""
        if case.kind not in MADE:
            return self.samples[case.sample]
        key = (case.kind, case.sample)
        if key not in self._made:
            self._made[key] = self.folder / f"made-{len(self._made)}.h5"
            shutil.copy(self.samples[case.sample], self._made[key])
            with h5py.File(self._made[key], "r+", libver="latest") as file:
                MADE[case.kind](file, self.outside)
        return self._made[key]


@contextmanager
def _written(path: Path, late: bool) -> Iterator[None]:
    """Write some rows, and keep the file open while the block runs."""
    series = Stream("series", coords={"term": ["a", "b"]})
    with Recorder(path, config={"problem": {"name": "poisson"}}, streams=[series], commit_every=0.0) as recorder:
        recorder.store("points", coords={"axis": ["x"]}, interior=(("interior_point", "axis"), np.zeros((30, 1))))
        for step in range(ROWS):
            more = {"came_late": float(step)} if late and step > ROWS // 2 else {}
            recorder.record("series", step, loss=1.0 / (step + 1), loss_raw=[1.0, 2.0], **more)
            recorder.record("spectra", step, singular_value=np.ones(20))
        yield
