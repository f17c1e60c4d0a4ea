"""The pairs (s, y) of L-BFGS in one flat buffer, and the direction -H g that they give."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from scipy.linalg.blas import dtrsv
from torch import Tensor


class CurvaturePairs:
    r"""The last pairs of steps s and changes of the gradient y, and the inverse Hessian that they stand for.

    $$ H_{i} = (I - \rho_i s_i y_i^T) H_{i-1} (I - \rho_i y_i s_i^T) + \rho_i s_i s_i^T, \quad \rho_i = 1 / s_i^T y_i,
       \quad H_0 = \gamma I, \quad \gamma = s_n^T y_n / y_n^T y_n $$

    The two loops of L-BFGS, with all inner products from one matrix-vector product and both sums as another one:

    $$ \alpha = R^{-1} S g, \quad \delta = R^{-T} (D \alpha + \gamma Y Y^T \alpha - \gamma Y g), \quad
       H g = \gamma (g - Y^T \alpha) + S^T \delta $$

    with rows s_i of S, y_i of Y, R the upper triangle of S Y^T and D its diagonal. S Y^T and Y Y^T grow by a column a
    pair, from the products with the gradients before and after: Y y = Y g' - Y g.

    Args:
        history: the most pairs that are kept.
        like: (parameters,); the buffer is on its device, in float64.

    Source: R. H. Byrd, J. Nocedal, R. B. Schnabel, Math. Program. 63 (1994) 129-156, theorem 2.2, rearranged.

    Cost: 16 history bytes a parameter; 8 history flops a parameter for products and direction together, which read the
        buffer twice, and 6 history^2 beside.

    Example:
        >>> pairs = CurvaturePairs(5, torch.zeros(2, dtype=torch.float64))
        >>> s, y = torch.tensor([1.0, 0.0]).double(), torch.tensor([4.0, 0.0]).double()
        >>> pairs.add(s, y, np.zeros((0, 2)))
        >>> pairs.direction(y + 1, pairs.products(y + 1)).tolist()
        [-1.25, -0.25]
    """

    def __init__(self, history: int, like: Tensor):
        self.history, self.count, self.oldest = history, 0, 0
        # s and y next to each other: the first `count` pairs are one contiguous matrix while the buffer fills.
        self.rows = torch.empty((history, 2, like.numel()), dtype=torch.float64, device=like.device)
        # In order of age, the oldest first, while `rows` is used in circles.
        self.sy, self.yy = np.zeros((history, history)), np.zeros((history, history))

    @property
    def flat(self) -> Tensor:
        """The pairs kept, (2 count, parameters): s, y, s, y, ... in the order of the buffer."""
        return self.rows[: self.count].flatten(0, 1)

    def clear(self) -> None:
        """Forget all pairs."""
        self.count = self.oldest = 0

    def products(self, vector: Tensor) -> np.ndarray:
        """Return the inner products of all pairs with a vector.

        Args:
            vector: (parameters,) float64.

        Returns:
            (count, 2): s_i v and y_i v, the oldest pair first.
        """
        found = torch.mv(self.flat, vector).cpu().numpy().reshape(-1, 2)
        return self._turned(found, self.oldest)

    @staticmethod
    def _turned(rows: np.ndarray, first: int) -> np.ndarray:
        """Return the rows from one on, then those before it: between the order of age and that of the buffer."""
        return np.concatenate([rows[first:], rows[:first]])

    def add(self, s: Tensor, y: Tensor, products: np.ndarray, curvature: float | None = None) -> None:
        """Take a pair in, in place of the oldest one where the buffer is full.

        Args:
            s: (parameters,) float64, the step.
            y: (parameters,) float64, the change of the gradient; s y > 0.
            products: (count, 2) of the pairs so far with y.
            curvature: s y, where it is known.
        """
        slot = self.count
        if self.count == self.history:
            slot, self.oldest = self.oldest, (self.oldest + 1) % self.history
            self.count -= 1
            products = products[1:]
            for table in (self.sy, self.yy):
                table[:-1, :-1] = table[1:, 1:]
        self.rows[slot, 0], self.rows[slot, 1] = s, y
        last = self.count
        self.sy[:last, last] = products[:, 0]
        self.yy[:last, last] = self.yy[last, :last] = products[:, 1]
        self.sy[last, last], self.yy[last, last] = float(s @ y) if curvature is None else curvature, float(y @ y)
        self.count += 1

    def direction(self, gradient: Tensor, products: np.ndarray) -> Tensor:
        """Return -H g.

        Args:
            gradient: (parameters,) float64.
            products: (count, 2) of the pairs with it.

        Returns:
            (parameters,); -g without pairs.
        """
        count = self.count
        if count == 0:
            return -gradient
        upper, yy = self.sy[:count, :count], self.yy[:count, :count]
        gamma = upper[-1, -1] / yy[-1, -1]
        # BLAS itself: the checks of its wrappers take longer than a solve of this size. R^T is R in Fortran's order.
        alpha = dtrsv(upper.T, products[:, 0], lower=1, trans=1)
        right = upper.diagonal() * alpha + gamma * (yy @ alpha - products[:, 1])
        delta = dtrsv(upper.T, right, lower=1)
        weights = self._turned(np.stack([-delta, gamma * alpha], axis=1), count - self.oldest).reshape(-1)
        return torch.addmv(gradient, self.flat.T, torch.from_numpy(weights).to(gradient.device), beta=-gamma)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the pairs as arrays.

        Returns:
            Copies: rows, sy, yy and oldest.
        """
        count = self.count
        tables = {"sy": self.sy[:count, :count].copy(), "yy": self.yy[:count, :count].copy()}
        return {"rows": self.rows[:count].cpu().numpy().copy(), "oldest": np.array(self.oldest)} | tables

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], history: int, like: Tensor) -> CurvaturePairs:
        """Return the pairs that `to_arrays` has written.

        Args:
            arrays: from it.
            history: as before.
            like: (parameters,).

        Returns:
            The pairs, bit for bit.

        Raises:
            ValueError: more pairs than the history holds, or of another number of parameters.
        """
        rows = np.asarray(arrays["rows"])
        count = len(rows)
        if count > history or rows.shape[1:] != (2, like.numel()):
            raise ValueError(
                f"expected at most {history} pairs of {like.numel()} parameters, came rows of shape {rows.shape}: "
                "restore with the options and the network that wrote them"
            )
        pairs = cls(history, like)
        oldest = int(arrays["oldest"])
        pairs.count, pairs.oldest = count, oldest if count == history else 0
        pairs.rows[:count] = torch.from_numpy(rows if count == history else np.roll(rows, -oldest, axis=0))
        pairs.sy[:count, :count], pairs.yy[:count, :count] = arrays["sy"], arrays["yy"]
        return pairs
