"""Residual multilayer perceptron: blocks of two layers, each added to what came in."""

from __future__ import annotations

from torch import Tensor, nn


class ResidualMLP(nn.Module):
    """Network of two-layer residual blocks, that of the deep Ritz method (arXiv 1710.00211).

    h_0 = W_0 x + b_0, h_{k+1} = h_k + s(B_k s(A_k h_k + a_k) + b_k), u = W h_K + b. Weights are drawn as in `MLP`.

    Args:
        inputs: number of input coordinates.
        width: width of every block.
        blocks: number K of blocks.
        outputs: number of components of u.
        activation: a module class without arguments.

    Raises:
        ValueError: a size that is no positive integer.

    Example:
        >>> sum(p.numel() for p in ResidualMLP(2, 10, 4).parameters())
        921
    """

    def __init__(self, inputs: int, width: int, blocks: int, outputs: int = 1, activation: type[nn.Module] = nn.Tanh):
        super().__init__()
        sizes = [inputs, width, blocks, outputs]
        if not all(isinstance(size, int) and size >= 1 for size in sizes):
            raise ValueError(f"expected integer sizes >= 1, came {sizes} for inputs, width, blocks and outputs")
        self.first, self.last = nn.Linear(inputs, width), nn.Linear(width, outputs)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), activation(), nn.Linear(width, width), activation())
            for _ in range(blocks)
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return u at x.

        Args:
            x: (n, inputs).

        Returns:
            (n, outputs).
        """
        hidden = self.first(x)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.last(hidden)
