"""RBF-FD weights of many stencils at once, by compiled code: one stencil a vector lane, in every thread."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch

from solvers.kernels.compiler import Compiled, host
from solvers.kernels.instructions import POINTER
from solvers.kernels.stencil_program import RUN, StencilProgram
from solvers.kernels.threads import share
from solvers.polyharmonic import Alpha

SHIFT = {
    1: (2.0,),
    3: (5.0, 12.0),
    5: (20.0, 60.0, 90.0),
    7: (128.0, 400.0, 700.0, 420.0),
    9: (1000.0, 3000.0, 6000.0, 6000.0, 3000.0),
}
"""m -> g_k of the definite shift: some 1.4 times the least found for lattices, jittered nodes, sides and corners.

Every digit more costs a digit of the weights; with less, pivots turn out negative and stencils are left unsolved.
"""

REFINED = 7
"""Least m whose weights are refined: up to 5, the shift leaves an error of at most 1e-9, mostly 1e-11."""


class StencilKernel:
    """The compiled program for one exponent, set of monomials and list of operators.

    Args:
        exponent: m of r^m.
        powers: exponents of the monomials.
        operators: the multi-indices of each operator's terms.
    """

    def __init__(self, exponent: int, powers: tuple[Alpha, ...], operators: tuple[tuple[Alpha, ...], ...]):
        processor = host()
        arguments = (exponent, powers, operators, SHIFT[exponent], processor.format(64), processor.registers)
        self.program = StencilProgram(*arguments, refine=exponent >= REFINED)
        types = {"run": [ctypes.c_void_p if kind is POINTER else ctypes.c_int64 for kind in RUN]}
        self._compiled = Compiled(self.program.module, types)

    def weights(self, nodes: np.ndarray, targets: np.ndarray, index: np.ndarray, coefficients: np.ndarray):
        """Return weights and which rows were solved.

        Args:
            nodes: (M, d) float64, contiguous.
            targets: (N, d) float64, contiguous.
            index: (N, n) int32, contiguous.
            coefficients: of all terms, operator by operator.

        Returns:
            (K, N, n) float64 and (N,) bool.
        """
        count, size = index.shape
        lanes, bytes_ = self.program.format.lanes, self.program.format.bytes
        groups = -(-count // lanes)
        threads = max(1, min(torch.get_num_threads(), groups))
        weights, solved = np.empty((len(self.program.operators), count, size)), np.zeros(count, dtype=bool)
        room = self.program.room(size)
        memory = np.empty(threads * sum(room) * bytes_ + bytes_, dtype=np.uint8)
        aligned = -(-memory.ctypes.data // bytes_) * bytes_
        starts = np.concatenate([[0], np.cumsum(room)]) * bytes_
        given = [array.ctypes.data for array in (nodes, targets, index, coefficients)]
        results = [weights.ctypes.data, solved.ctypes.data, count, size]

        def run(thread: int) -> None:
            places = [int(aligned + thread * starts[-1] + start) for start in starts[:-1]]
            part = [groups * thread // threads, groups * (thread + 1) // threads]
            self._compiled.functions["run"](*given, *places, *results, *part)

        share(threads, run)
        return weights, solved


@lru_cache(maxsize=128)
def stencil_kernel(exponent: int, powers: tuple[Alpha, ...], operators: tuple[tuple[Alpha, ...], ...]) -> StencilKernel:
    """Return the compiled program, which is made at the first call, in 0.1 to 0.4 s.

    Args:
        exponent: m of r^m.
        powers: exponents of the monomials.
        operators: the multi-indices of each operator's terms.

    Returns:
        The kernel.
    """
    return StencilKernel(exponent, powers, operators)


def compiled_weights(
    nodes: np.ndarray,
    targets: np.ndarray,
    index: np.ndarray,
    exponent: int,
    powers: np.ndarray,
    operators: Sequence[Mapping[Alpha, float]],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of stencils for several operators, from one factorisation each.

        sum_j w_j u(x_j) = (L u)(target) for all u = r^m about the nodes that leave polynomials alone, and polynomials

    A row is solved where all pivots have their signs and the weights differentiate the monomials to 1e-9; the others
    are the caller's to solve or to refuse. So are all where m > 9, or where the monomials do not reach the degree
    (m - 1) / 2, without which r^m is not definite. Cost: (n + q)^3 / 3 operations a stencil at some 30 to 45 GF/s with
    AVX-512, 3 us for n = 43 and q = 21; memory: the results, and 1 MB a thread.

    Args:
        nodes: (M, d) coordinates.
        targets: (N, d) coordinates.
        index: (N, n) nodes of each stencil.
        exponent: m of r^m, odd.
        powers: (q, d) exponents of the monomials, as `solvers.polyharmonic.monomials` gives them.
        operators: K of them, alpha -> coefficient.

    Returns:
        (K, N, n) float64 weights, undefined where not solved, and (N,) bool, whether solved.

    Raises:
        ValueError: arrays that do not fit each other, or indices beyond the nodes.

    Example:
        >>> from solvers.polyharmonic import monomials
        >>> x = np.array([[-1.0], [0.0], [1.0], [2.0], [3.0]])
        >>> weights, solved = compiled_weights(x, x[1:2], [[0, 1, 2]], 5, monomials(1, 2), [{(2,): 1.0}])
        >>> weights.round(12).tolist(), solved.tolist()
        ([[[1.0, -2.0, 1.0]]], [True])
    """
    nodes, targets = (np.ascontiguousarray(array, dtype=np.float64) for array in (nodes, targets))
    index = np.ascontiguousarray(index, dtype=np.int32)
    powers = tuple(tuple(map(int, power)) for power in powers)
    operators = [{tuple(map(int, alpha)): float(c) for alpha, c in operator.items()} for operator in operators]
    _check(nodes, targets, index, powers, operators)
    count, size = index.shape
    degree = max(map(sum, powers))
    if exponent not in SHIFT or degree < (exponent - 1) // 2 or not count:
        return np.full((len(operators), count, size), np.nan), np.zeros(count, dtype=bool)
    kernel = stencil_kernel(exponent, powers, tuple(map(tuple, operators)))
    coefficients = np.array([c for operator in operators for c in operator.values()])
    return kernel.weights(nodes, targets, index, coefficients)


def _check(nodes, targets, index, powers, operators) -> None:
    """Refuse what compiled code would read beyond its arrays."""
    dimension = len(powers[0])
    for name, array in (("nodes", nodes), ("targets", targets)):
        if array.ndim != 2 or array.shape[1] != dimension:
            raise ValueError(f"{name}: expected shape (number, {dimension}) as of the monomials, came {array.shape}")
    if index.ndim != 2 or len(index) != len(targets) or not index.shape[1]:
        raise ValueError(f"index: expected shape ({len(targets)}, n), a row for each target, came {index.shape}")
    if index.size and not 0 <= int(index.min()) <= int(index.max()) < len(nodes):
        raise ValueError(
            f"index: expected 0 to {len(nodes) - 1}, as there are {len(nodes)} nodes, "
            f"came {index.min()} to {index.max()}: search the stencils in these nodes"
        )
    if not operators or not all(operators):
        raise ValueError("operators: expected at least one term in each of at least one operator: add alpha -> 1.0")
    if any(len(alpha) != dimension or min(alpha) < 0 for operator in operators for alpha in operator):
        raise ValueError(f"operators: expected multi-indices of {dimension} numbers >= 0 as keys, came {operators}")
