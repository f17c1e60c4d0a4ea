"""Modified multilayer perceptron: every hidden layer is a gate between two encodings of the input."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class ModifiedMLP(nn.Module):
    """Gated network of Wang, Teng & Perdikaris (2021), arXiv 2001.04536, with the gates from the first layer on.

    U = s(W_u x + b_u), V = s(W_v x + b_v), H_0 = x, Z_k = s(W_k H_{k-1} + b_k), H_k = (1 - Z_k) U + Z_k V,
    u = W H_L + b. Weights are drawn as in `MLP`.

    Args:
        inputs: number of input coordinates.
        widths: widths of the hidden layers, all equal.
        outputs: number of components of u.
        activation: a module class without arguments.

    Raises:
        ValueError: a size that is no positive integer, no hidden layer, or widths that differ.

    Example:
        >>> sum(p.numel() for p in ModifiedMLP(2, [32] * 4).parameters())
        3489
    """

    def __init__(self, inputs: int, widths: Sequence[int], outputs: int = 1, activation: type[nn.Module] = nn.Tanh):
        super().__init__()
        if not isinstance(widths, Sequence) or isinstance(widths, str) or not widths or len(set(widths)) > 1:
            raise ValueError(f"expected equal widths as a list of integers, one a hidden layer, came {widths!r}")
        sizes = [inputs, *widths, outputs]
        if not all(isinstance(size, int) and size >= 1 for size in sizes):
            raise ValueError(f"expected integer sizes >= 1, came {sizes}")
        width = widths[0]
        self.first, self.second = nn.Linear(inputs, width), nn.Linear(inputs, width)
        self.gates = nn.ModuleList(nn.Linear(fan_in, width) for fan_in in [inputs, *widths[:-1]])
        self.last = nn.Linear(width, outputs)
        self.activation = activation()
        for linear in (self.first, self.second, *self.gates, self.last):
            nn.init.xavier_normal_(linear.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return u at x.

        Args:
            x: (n, inputs).

        Returns:
            (n, outputs).
        """
        first = self.activation(self.first(x))
        step = self.activation(self.second(x)) - first
        hidden = x
        for gate in self.gates:
            # (1 - Z) U + Z V with one product.
            hidden = first + self.activation(gate(hidden)) * step
        return self.last(hidden)
