"""A sparse matrix times a tensor, with the transpose stored: the one product that a discretised equation needs."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

TRIALS = 20
"""Products that each CUDA library is timed for, once a matrix."""

BACKENDS = ("auto", "scipy", "cupy", "torch")


class SparseProduct:
    """y = A x for a constant CSR matrix, differentiable in x any number of times: the adjoint is A^T y, A^T stored.

    torch's own backward pass through a CSR matrix transposes it anew at every call, 25 to 33 times the cost of the
    product itself; it is never used.

    Args:
        matrix: (rows, columns), any scipy format; kept with 32-bit indices.
        like: for dtype and device.
        backend: "scipy" on the CPU; "cupy" or "torch" on a CUDA device; "auto" times both there and keeps the faster.

    Raises:
        ValueError: a backend that the device has not, or more entries than 32-bit indices count.

    Example:
        >>> values = torch.tensor([[3.0], [4.0]], dtype=torch.float64)
        >>> SparseProduct(scipy.sparse.csr_array([[0.0, 2.0], [1.0, 0.0]]), values)(values).tolist()
        [[8.0], [3.0]]
    """

    def __init__(self, matrix: scipy.sparse.sparray, like: Tensor, backend: str = "auto"):
        # Sorted before anything shares its arrays: sorting in place would leave the others behind.
        matrix = scipy.sparse.csr_array(matrix).sorted_indices()
        if max(matrix.nnz, *matrix.shape) > np.iinfo(np.int32).max:
            raise ValueError(f"expected at most 2^31 - 1 entries, came {matrix.nnz}: use fewer nodes or a lower order")
        self.shape = matrix.shape
        self.matrix = _narrow(matrix, like)
        self.transpose = _narrow(scipy.sparse.csr_array(matrix.T), like)
        self.backend = self._choose(backend, like)
        self._multiply = MULTIPLIERS[self.backend](self.matrix, self.transpose, like)

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"SparseProduct({rows} x {columns}, {self.matrix.nnz} entries, {self.backend})"

    def __call__(self, values: Tensor) -> Tensor:
        """Return A x.

        Args:
            values: (columns, k).

        Returns:
            (rows, k).
        """
        return _apply(values, self, False)

    def multiply(self, values: Tensor, transposed: bool) -> Tensor:
        """Return A x or A^T x without a graph.

        Args:
            values: (columns, k), or (rows, k) for the transpose.
            transposed: which of the two.

        Returns:
            (rows, k), or (columns, k).
        """
        return self._multiply(values.detach().contiguous(), transposed)

    def _choose(self, backend: str, like: Tensor) -> str:
        if backend not in BACKENDS:
            raise ValueError(f"expected a backend of {', '.join(BACKENDS)}, came {backend!r}")
        possible = ["scipy"] if like.device.type == "cpu" else [*(["cupy"] if find_spec("cupy") else []), "torch"]
        if backend != "auto" and backend not in possible:
            raise ValueError(
                f"backend {backend!r} does not serve {like.device}; expected {' or '.join(possible)}"
                + (": install cupy for this CUDA" if backend == "cupy" and like.is_cuda else "")
            )
        if backend != "auto" or len(possible) == 1:
            return possible[0] if backend == "auto" else backend
        return min(possible, key=lambda name: self._seconds(name, like))

    def _seconds(self, backend: str, like: Tensor) -> float:
        """Return the time of a product and its adjoint; one that a broken installation refuses takes for ever."""
        try:
            multiply = MULTIPLIERS[backend](self.matrix, self.transpose, like)
            given, back = (like.new_ones(size, 1) for size in (self.shape[1], self.shape[0]))
            multiply(given, False), multiply(back, True)
            torch.cuda.synchronize(like.device)
            start = time.perf_counter()
            for _ in range(TRIALS):
                multiply(given, False), multiply(back, True)
            torch.cuda.synchronize(like.device)
        except Exception:
            return float("inf")
        return time.perf_counter() - start


def _apply(values: Tensor, product: SparseProduct, transposed: bool) -> Tensor:
    """Return A x or A^T x; torch looks a function that transforms can take up anew at every call, 0.1 ms of it."""
    kind = _Transformed if torch._C._are_functorch_transforms_active() else _Product
    return kind.apply(values, product, transposed)


class _Product(torch.autograd.Function):
    """A x, whose derivative in x is A: backward multiplies by A^T."""

    @staticmethod
    def forward(ctx, values: Tensor, product: SparseProduct, transposed: bool) -> Tensor:
        ctx.product, ctx.transposed = product, transposed
        return product.multiply(values, transposed)

    @staticmethod
    def backward(ctx, cotangent):
        return _apply(cotangent, ctx.product, not ctx.transposed), None, None


class _Transformed(torch.autograd.Function):
    """The same for `torch.func`: forward mode multiplies by A, batches become columns."""

    @staticmethod
    def forward(values: Tensor, product: SparseProduct, transposed: bool) -> Tensor:
        return product.multiply(values, transposed)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, ctx.product, ctx.transposed = inputs

    @staticmethod
    def backward(ctx, cotangent):
        return _apply(cotangent, ctx.product, not ctx.transposed), None, None

    @staticmethod
    def jvp(ctx, tangent, *_):
        return _apply(tangent, ctx.product, ctx.transposed)

    @staticmethod
    def vmap(info, in_dims, values, product, transposed):
        columns = values.movedim(in_dims[0], -1)
        result = _apply(columns.flatten(1), product, transposed)
        return result.unflatten(1, columns.shape[1:]), 2


def _narrow(matrix: scipy.sparse.csr_array, like: Tensor) -> scipy.sparse.csr_array:
    """Return the matrix in the tensor's precision, its indices in 32 bits."""
    values = torch.empty(0, dtype=like.dtype).numpy().dtype
    data = matrix.data.astype(values, copy=False)
    parts = (data, matrix.indices.astype(np.int32, copy=False), matrix.indptr.astype(np.int32, copy=False))
    return scipy.sparse.csr_array(parts, shape=matrix.shape)


Multiply = Callable[[Tensor, bool], Tensor]


def _scipy(matrix, transpose, like: Tensor) -> Multiply:
    return lambda values, transposed: torch.from_numpy((transpose if transposed else matrix) @ values.numpy())


def _torch(matrix, transpose, like: Tensor) -> Multiply:
    def moved(part):
        arrays = (torch.from_numpy(array).to(like.device) for array in (part.indptr, part.indices, part.data))
        with warnings.catch_warnings():
            # Once a process torch says that its CSR tensors are in beta; of them, only the product is used here.
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
            return torch.sparse_csr_tensor(*arrays, size=part.shape, check_invariants=False)

    own, other = moved(matrix), moved(transpose)
    return lambda values, transposed: (other if transposed else own) @ values


def _cupy(matrix, transpose, like: Tensor) -> Multiply:
    import cupy
    from cupyx.scipy.sparse import csr_matrix

    def moved(part):
        arrays = tuple(cupy.asarray(array) for array in (part.data, part.indices, part.indptr))
        return csr_matrix(arrays, shape=part.shape)

    def multiply(values: Tensor, transposed: bool) -> Tensor:
        # Both libraries on torch's stream, so that neither reads what the other has not yet written.
        stream = torch.cuda.current_stream(values.device).cuda_stream
        with cupy.cuda.Device(values.device.index or 0), cupy.cuda.ExternalStream(stream):
            return torch.from_dlpack((other if transposed else own) @ cupy.from_dlpack(values))

    with cupy.cuda.Device(like.device.index or 0):
        own, other = moved(matrix), moved(transpose)
    return multiply


MULTIPLIERS = {"scipy": _scipy, "torch": _torch, "cupy": _cupy}
"""Backend -> function (matrix, transpose, like) that prepares products by either."""
