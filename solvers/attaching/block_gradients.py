"""Gradients of a user's residual over blocks of its points: the fastest way that agrees with one block alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from solvers.attaching.blocked_calls import BlockedCalls, Replaced
from solvers.attaching.owned import flat

Residuals = Callable[[nn.Module, Tensor], Tensor]
"""(model, points (n, axes)) -> (n, equations), or (n,) for one equation."""

AGREEMENT = 1e-3
"""Of a block's gradient with that of the block alone, relative: far above round-off, far below any other gradient."""


class AttachedBlocks:
    """Gradients g_b = d/dtheta mean_{i in b} w_i |r_i|^2 of B fixed blocks of the points, w constant.

    Tried in this order, the first of which agrees with the gradients of the first and the last block alone is kept:
    "stacked": parameters expanded to (B, ...), the model applied by `vmap`, one backward pass (residuals with
    `torch.autograd.grad`); "func": `vmap(grad(...))` over the blocks (residuals with `torch.func`); "loop": a backward
    pass a block (everything else: random numbers in the model, rows that depend on one another).

    Args:
        residuals: of the user.
        model: trained.
        names: parameters that count, as in `model.named_parameters()`.
        points: (n, axes), dealt to blocks at random; those that do not fill the last block are left out.
        blocks: number B; fewer where there are fewer points.
        seed: of the dealing; the global generator is left alone.
        weigh: -> (n,) w, in the order of the points; None: 1. The way is chosen without it, since w may begin as zero.

    Raises:
        ValueError: fewer than 2 points.

    Cost: "stacked" and "func" about one training step, "loop" B of them on few points.

    Example:
        >>> layer, points = nn.Linear(1, 1, bias=False), torch.arange(1.0, 5.0)[:, None]
        >>> blocks = AttachedBlocks(lambda model, x: model(x), layer, ["weight"], points, 2)
        >>> own = blocks()
        >>> own.shape, bool(torch.isclose(own.mean(), 2 * layer.weight * points.square().mean())), blocks.way
        (torch.Size([2, 1]), True, 'stacked')
    """

    def __init__(
        self,
        residuals: Residuals,
        model: nn.Module,
        names: Sequence[str],
        points: Tensor,
        blocks: int,
        seed: int = 0,
        weigh: Callable[[], Tensor] | None = None,
    ):
        if len(points) < 2:
            raise ValueError(f"expected at least 2 points for gradients of blocks, came {len(points)}: give more")
        self.residuals, self.model, self.names = residuals, model, list(names)
        self.blocks = min(blocks, len(points))
        self.block_size = len(points) // self.blocks
        order = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed), device="cpu")
        self._order = order[: self.blocks * self.block_size].to(points.device)
        self._points, self._weigh = points.detach()[self._order], weigh
        self.way = ""

    @property
    def sizes(self) -> list[int]:
        """Number of entries of each counted parameter."""
        return [p.numel() for p in self._selected().values()]

    def __call__(self) -> Tensor:
        """Return each block's gradient at the present parameters.

        Returns:
            (B, parameters that count).

        Raises:
            ValueError: residuals that have not one row a point.
        """
        if not self.way:
            found = self._choose()
            if self._weigh is None:
                return found
        weights = None if self._weigh is None else self._weigh()[self._order]
        return getattr(self, f"_{self.way}")(weights)

    def _choose(self) -> Tensor:
        """Choose the way; return the gradients for w = 1."""
        known = {row: self._alone(row, None) for row in (0, self.blocks - 1)}
        for way in ("stacked", "func"):
            try:
                found = getattr(self, f"_{way}")(None)
            except Exception:
                # What a user's code raises under a transform is of any kind.
                continue
            if all(_agree(found[row], gradient) for row, gradient in known.items()):
                self.way = way
                return found
        found, self.way = self._loop(None), "loop"
        return found

    def _selected(self) -> dict[str, Tensor]:
        parameters = dict(self.model.named_parameters())
        return {name: parameters[name] for name in self.names}

    def _of(self, block: int, values: Tensor) -> Tensor:
        return values[block * self.block_size : (block + 1) * self.block_size]

    def _loss(self, residual: Tensor, count: int, weights: Tensor | None) -> Tensor:
        squares = rows_of(residual, count).square()
        squares = squares if weights is None else weights[:, None] * squares
        return squares.sum() / self.block_size

    def _alone(self, block: int, weights: Tensor | None) -> Tensor:
        selected = list(self._selected().values())
        points = self._of(block, self._points).clone().requires_grad_(True)
        own = None if weights is None else self._of(block, weights)
        loss = self._loss(self.residuals(self.model, points), self.block_size, own)
        return flat(torch.autograd.grad(loss, selected, materialize_grads=True, allow_unused=True))

    def _loop(self, weights: Tensor | None) -> Tensor:
        return torch.stack([self._alone(block, weights) for block in range(self.blocks)])

    def _stacked(self, weights: Tensor | None) -> Tensor:
        selected = self._selected()
        stacked = {n: p.detach().expand(self.blocks, *p.shape).requires_grad_(True) for n, p in selected.items()}
        points = self._points.clone().requires_grad_(True)
        residual = self.residuals(BlockedCalls(self.model, stacked, self.block_size), points)
        loss = self._loss(residual, len(points), weights)
        own = torch.autograd.grad(loss, list(stacked.values()), materialize_grads=True, allow_unused=True)
        return torch.cat([part.reshape(self.blocks, -1) for part in own], dim=1)

    def _func(self, weights: Tensor | None) -> Tensor:
        selected = {name: p.detach() for name, p in self._selected().items()}

        def loss(values: dict[str, Tensor], points: Tensor, own: Tensor | None) -> Tensor:
            return self._loss(self.residuals(Replaced(self.model, values), points), self.block_size, own)

        sizes = self.blocks, self.block_size
        dealt = None if weights is None else weights.unflatten(0, sizes)
        in_dims = (None, 0, None if dealt is None else 0)
        own = vmap(grad(loss), in_dims, randomness="different")(selected, self._points.unflatten(0, sizes), dealt)
        return torch.cat([own[name].reshape(self.blocks, -1) for name in selected], dim=1)


def rows_of(residual: Tensor, count: int) -> Tensor:
    """Return residuals as (n, equations).

    Args:
        residual: that the user's function returned.
        count: number n of points.

    Returns:
        The same, an axis added where there is one equation.

    Raises:
        ValueError: not one row a point.

    Example:
        >>> rows_of(torch.zeros(3), 3).shape
        torch.Size([3, 1])
    """
    if not isinstance(residual, Tensor) or residual.ndim not in (1, 2) or len(residual) != count:
        came = f"shape {tuple(residual.shape)}" if isinstance(residual, Tensor) else type(residual).__name__
        raise ValueError(
            f"expected residuals of shape ({count}, equations), one row for each of the points given, came {came}: "
            "compute them from the points that residuals(model, points) is called with"
        )
    return residual.reshape(count, -1)


def _agree(found: Tensor, known: Tensor) -> bool:
    scale = float(known.norm())
    return bool((found - known).norm() <= AGREEMENT * scale) or not bool(known.isfinite().all())
