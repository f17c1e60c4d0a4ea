"""From the cotangents of a jet back to the gradient of every block of points, through a chain in compiled code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from solvers.operators.compiled import FEWEST, activation_kernel
from solvers.operators.detached import Detached
from solvers.series import Series

WASTE = 1.3
"""Tiles serve blocks that fill them to 1 / WASTE at least; smaller blocks go layer by layer."""

GROUP_BYTES = 2**21
"""Of activations and cotangents that are held at a time, layer by layer: about what a core's own cache holds."""


@dataclass(frozen=True)
class Dealing:
    """How rows of points are dealt: ordered (copy, block, point), so that a block is the same slice of every copy.

    Args:
        copies: stacked parts of a boundary, of which the residual takes pairs; 1 otherwise.
        blocks: number B.
        block_size: points of a block in each copy.
    """

    copies: int
    blocks: int
    block_size: int

    @property
    def points(self) -> int:
        """Points in all."""
        return self.copies * self.blocks * self.block_size


def pull_back_blocks(
    detached: Detached, cotangents: Sequence[Tensor], dealing: Dealing, starts: Mapping[Tensor, int], size: int
) -> Tensor:
    """Return the parameters' gradients of each block, from the cotangents of a jet that was cut from its chain.

    Blocks that fill the tiles of the compiled program go through it one by one and hold one tile at a time. A block of
    16 points would leave three quarters of a tile of 64 empty: small blocks go through the layers together, a group of
    them in cache, and each layer's gradients are one batched product.

    Args:
        detached: jet and chain.
        cotangents: of the jet's leaves.
        dealing: of the points to blocks.
        starts: parameter -> its first element in a row of the result; gradients of others are dropped.
        size: elements of a row.

    Returns:
        (B, size).
    """
    out = cotangents[0].new_zeros(dealing.blocks, size)
    # An odd network takes a lane for each point and one for its image.
    tile = detached.kernel.program.points >> detached.chain.odd
    padded = -(-dealing.block_size // tile) * tile
    if dealing.copies == 1 and (padded <= WASTE * dealing.block_size or not _by_layers_possible(detached, dealing)):
        _by_tiles(detached, cotangents, dealing, starts, out)
    else:
        _by_layers(detached, cotangents, dealing, starts, out)
    return out


def _by_layers_possible(detached: Detached, dealing: Dealing) -> bool:
    """Return whether even a block alone has enough elements for the compiled activations."""
    widths = [len(weight) for weight in detached.chain.weights[:-1]]
    return not widths or min(widths) * dealing.block_size * dealing.copies >= FEWEST


def _by_tiles(detached: Detached, cotangents, dealing: Dealing, starts: Mapping[Tensor, int], out: Tensor) -> None:
    size = dealing.block_size
    for block, row in enumerate(out):
        part = (block * size, (block + 1) * size)
        # The adjoint of the combination is linear in the points: of this block's alone.
        rows, kept = detached.combination.adjoint([c[slice(*part)] for c in cotangents]), detached.kept.part(*part)
        parameters = detached.chain.parameters
        if all(parameter in starts for parameter in parameters):
            detached.kernel.add_gradients(kept, rows, row, [starts[parameter] for parameter in parameters])
            continue
        pieces = detached.kernel.gradients(kept, rows).split([p.numel() for p in parameters])
        for parameter, piece in zip(parameters, pieces, strict=True):
            if parameter in starts:
                row[starts[parameter] : starts[parameter] + len(piece)] += piece


def _by_layers(detached: Detached, cotangents, dealing: Dealing, starts: Mapping[Tensor, int], out: Tensor) -> None:
    rows = detached.combination.adjoint(cotangents)
    layout, kept = detached.kernel.layout, detached.kept
    with torch.no_grad():
        entry = Series.along(kept.points, kept.directions, layout).coefficients
        if detached.chain.odd:
            # f(x) - f(-x): every point is followed by its image, in its own block.
            entry, rows = (torch.stack([x, -x], dim=2).flatten(1, 2) for x in (entry, rows))
            dealing = replace(dealing, block_size=2 * dealing.block_size)
        both = (x.unflatten(1, (dealing.copies, dealing.blocks, dealing.block_size)) for x in (entry, rows))
        entry, rows = both
        for part in _groups(detached, dealing):
            layers = _Layers(detached, dealing)
            layers.forward(entry[:, :, part].flatten(1, 3))
            layers.backward(rows[:, :, part].flatten(1, 3), starts, out[part])


def _groups(detached: Detached, dealing: Dealing) -> Iterator[slice]:
    """Yield the blocks, as many at a time as `GROUP_BYTES` hold."""
    widths = sum(len(weight) for weight in detached.chain.weights)
    rows = detached.kernel.layout.rows * dealing.copies * dealing.block_size
    held = max(1, GROUP_BYTES // (rows * widths * detached.kept.points.element_size()))
    for first in range(0, dealing.blocks, held):
        yield slice(first, min(first + held, dealing.blocks))


class _Layers:
    """A group of blocks on its way through the layers of a chain, forward and back; rows are (series, copy, block)."""

    def __init__(self, detached: Detached, dealing: Dealing):
        self.chain, self.layout, self.dealing = detached.chain, detached.kernel.layout, dealing
        self.inputs: list[Tensor] = []
        self.saved: list[Tensor] = []
        self.kernels: list = []

    def forward(self, coefficients: Tensor) -> None:
        """Keep what each layer takes in, and what each activation needs for its adjoint."""
        for weight, bias in zip(self.chain.weights[:-1], self.chain.biases[:-1], strict=True):
            self.inputs.append(coefficients)
            z = coefficients @ weight.T
            z[0] += bias
            kernel = activation_kernel(self.chain.activation, self.layout, z)
            coefficients = kernel.forward(z)
            self.kernels.append(kernel)
            self.saved.append(coefficients if kernel.activation.slope else z)
        self.inputs.append(coefficients)

    def backward(self, cotangent: Tensor, starts: Mapping[Tensor, int], out: Tensor) -> None:
        """Add each layer's gradients of each block into its row of `out`."""
        for layer in reversed(range(len(self.inputs))):
            weight, bias = self.chain.weights[layer], self.chain.biases[layer]
            if weight in starts:
                products = self._by_block(cotangent, len(out)).mT @ self._by_block(self.inputs[layer], len(out))
                _view(out, starts, weight).add_(products.flatten(1))
            if bias in starts:
                _view(out, starts, bias).add_(self._by_block(cotangent[:1], len(out)).sum(dim=1))
            if layer:
                cotangent = self.kernels[layer - 1].backward(self.saved[layer - 1], cotangent @ weight)

    def _by_block(self, rows: Tensor, blocks: int) -> Tensor:
        """Return (block, series and copies and points, width)."""
        dealt = rows.unflatten(1, (self.dealing.copies, blocks, self.dealing.block_size))
        return dealt.permute(2, 0, 1, 3, 4).flatten(1, 3)


def _view(out: Tensor, starts: Mapping[Tensor, int], parameter: Tensor) -> Tensor:
    return out[:, starts[parameter] : starts[parameter] + parameter.numel()]
