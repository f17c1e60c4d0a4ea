"""treverhines-rbf in a process of its own, of an interpreter that has it: what building stencils is measured beside."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from solvers.stencils import Recipe

PEER = """
import json, sys, time
import numpy as np
try:
    from rbf.pde.fd import weight_matrix
except ImportError:
    print("absent", flush=True)
    sys.exit()
print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    nodes = np.load(job["nodes"])
    diffs = 2 * np.eye(nodes.shape[1], dtype=int)
    options = dict(phi="phs%d" % job["exponent"], order=job["degree"])
    start = time.process_time()
    found = weight_matrix(nodes, nodes, job["size"], diffs, **options)
    seconds = time.process_time() - start
    if job["result"]:
        found = found.tocsr()
        found.sort_indices()
        np.savez(job["result"], index=found.indices, weights=found.data)
    print(seconds, flush=True)
"""
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


class Peer:
    """treverhines-rbf in a process of its own, which is sent one job after another.

    Args:
        process: that runs `PEER`; None where it is not installed.
        folder: for what is exchanged.
    """

    def __init__(self, process: subprocess.Popen | None, folder: Path):
        self.process, self.folder = process, folder

    def seconds(self, nodes: np.ndarray, recipe: Recipe, result: Path | None = None) -> float | None:
        """Return CPU seconds of `weight_matrix` of the Laplacian.

        Args:
            nodes: (M, d).
            recipe: of the stencils.
            result: file for indices and weights, or None.

        Returns:
            Search and weights together; None where it is not installed.

        Raises:
            RuntimeError: the process ended.
        """
        if self.process is None:
            return None
        path = self.folder / "nodes.npy"
        np.save(path, nodes)
        job = {"nodes": str(path), "exponent": recipe.exponent, "degree": recipe.degree, "size": recipe.size}
        with suppress(BrokenPipeError):
            print(json.dumps(job | {"result": str(result) if result else None}), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("the process of treverhines-rbf ended: see its message above")
        return float(answer)


@contextmanager
def peer_process(interpreter: str) -> Iterator[Peer]:
    """Start the peer, if the interpreter has it, and end it.

    Args:
        interpreter: path of a Python.

    Yields:
        The peer.
    """
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [interpreter, "-c", PEER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD,
        )
        ready = process.stdout.readline().strip() == "ready"
        try:
            yield Peer(process if ready else None, Path(folder))
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()
            process.stdout.close()
            process.wait()
