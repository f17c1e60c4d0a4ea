"""Memory beside memory: for every number of a tensor, the expression that it is, and the point that it belongs to.

A shadow has an entry for each entry of a tensor's storage. Views need no rule: whatever shares the storage finds its
expressions through its own sizes and strides, and what is written in place is seen by all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from solvers.expressions.graph import Graph, UncoveredError

BITS = 8
"""Of a code that say which point: 0 for none, row + 1, or `MIXED`; the node's number stands above."""

MIXED = 2**BITS - 1


class Shadows:
    """Codes of the tensors of one run, in its own graph of expressions.

    Args:
        graph: gets the nodes.
        dtype: of everything that depends on a leaf.
    """

    def __init__(self, graph: Graph, dtype: torch.dtype):
        self.graph, self.dtype = graph, dtype
        self._storages: dict[int, tuple[Tensor, Tensor]] = {}
        self._codes: dict[tuple, int] = {}

    def knows(self, tensor: Tensor) -> bool:
        """Return whether a tensor's storage has a shadow, or needs none.

        Args:
            tensor: any.

        Returns:
            False for what came from elsewhere.
        """
        return not tensor.numel() or tensor.untyped_storage().data_ptr() in self._storages

    def codes(self, tensor: Tensor) -> Tensor:
        """Return the codes of a tensor, to be read or written in place.

        Args:
            tensor: that has a shadow.

        Returns:
            int64, of the tensor's shape.

        Raises:
            UncoveredError: a view as another type.
        """
        if not tensor.numel():
            return torch.empty(tensor.shape, dtype=torch.int64)
        like, shadow = self._storages[tensor.untyped_storage().data_ptr()]
        if like.dtype != tensor.dtype or tensor.is_neg() or tensor.is_conj():
            raise UncoveredError(f"a view of {like.dtype} as {tensor.dtype}")
        return shadow.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())

    def enter(self, tensor: Tensor, codes: Tensor | None = None) -> None:
        """Give a tensor's storage a shadow.

        Args:
            tensor: whose storage is kept alive from now on, so that its address stays its own.
            codes: of the tensor's shape; its numbers as constants by default.
        """
        if not tensor.numel():
            return
        storage = tensor.untyped_storage()
        shadow = torch.full((storage.nbytes() // tensor.element_size(),), -1, dtype=torch.int64)
        self._storages[storage.data_ptr()] = tensor, shadow
        self.write(tensor, codes)

    def write(self, tensor: Tensor, codes: Tensor | None = None) -> None:
        """Write codes where a tensor lies.

        Args:
            tensor: that has a shadow.
            codes: of the tensor's shape; its numbers as constants by default.

        Raises:
            UncoveredError: codes of another shape, or a complex tensor.
        """
        if tensor.is_complex():
            raise UncoveredError("complex numbers")
        if codes is None:
            numbers = tensor.detach().to(torch.float64).reshape(-1).tolist()
            found = [self.graph.constant(value) << BITS for value in numbers]
            codes = torch.tensor(found, dtype=torch.int64).view(tensor.shape)
        if codes.shape != tensor.shape:
            raise UncoveredError(f"a result of shape {tuple(tensor.shape)} where {tuple(codes.shape)} was expected")
        self.codes(tensor).copy_(codes)

    def varies(self, codes: Tensor) -> bool:
        """Return whether some of the codes are not constant.

        Args:
            codes: of any shape.

        Returns:
            True where a leaf is involved.
        """
        return any(self.graph.depends[code >> BITS] for code in codes.reshape(-1).tolist())

    def number(self, value: float) -> Tensor:
        """Return the code of a number.

        Args:
            value: any.

        Returns:
            0-D.
        """
        return torch.tensor(self.graph.constant(value) << BITS)

    def apply(self, name: str, *operands: Tensor) -> Tensor:
        """Return the codes of a function, entry by entry.

        Args:
            name: in `FUNCTIONS`.
            *operands: codes, broadcast.

        Returns:
            Of the common shape.
        """
        # Not broadcast_shapes, which imports sympy.
        spread = torch.broadcast_tensors(*operands)
        lists = [codes.reshape(-1).tolist() for codes in spread]
        return self._gather(spread[0].shape, [self._apply(name, codes) for codes in zip(*lists, strict=True)])

    def sum(self, codes: Tensor, dims: Sequence[int], keep: bool) -> Tensor:
        """Return the codes of sums over some dimensions.

        Args:
            codes: of any shape.
            dims: that are summed over; all if empty.
            keep: them, with size 1.

        Returns:
            Without them, or with size 1.
        """
        dims = [dim % codes.dim() for dim in dims] if dims else list(range(codes.dim()))
        others = [dim for dim in range(codes.dim()) if dim not in dims]
        shape = [codes.shape[dim] for dim in others]
        rows = codes.permute(*others, *dims).reshape(*shape, -1).flatten(0, -2) if others else codes.reshape(1, -1)
        total = self._gather(shape, [self._total(row) for row in rows.tolist()])
        return total.view([1 if dim in dims else codes.shape[dim] for dim in range(codes.dim())]) if keep else total

    def _total(self, row: list[int]) -> int:
        if not row:
            return self.graph.zero << BITS
        total = row[0]
        for code in row[1:]:
            total = self._apply("add", (total, code))
        return total

    def _gather(self, shape: Sequence[int], codes: list[int]) -> Tensor:
        return torch.tensor(codes, dtype=torch.int64).view(shape)

    def _apply(self, name: str, codes: tuple[int, ...]) -> int:
        key = (name, codes)
        found = self._codes.get(key)
        if found is None:
            node = self.graph.apply(name, *(code >> BITS for code in codes))
            rows = {code & MIXED for code in codes} - {0} if self.graph.depends[node] else set()
            row = 0 if not rows else rows.pop() if len(rows) == 1 else MIXED
            found = self._codes[key] = node << BITS | row
        return found
