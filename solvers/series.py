"""Truncated Taylor series that behave as tensors: a function written for tensors, called with one, differentiates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from numbers import Real
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import resolve_name

from solvers import taylor_functions
from solvers.layout import Layout, orders


def _smooth(name: str):
    def method(self: Series) -> Series:
        return self._apply(name)

    method.__name__ = name
    method.__qualname__ = f"Series.{name}"
    method.__doc__ = f"""Return the series of {name}(z).

    Returns:
        The same layout and shape, for one to four products of series.
    """
    return method


class Series:
    """Truncated Taylor series along directions, z(t) = sum_k z_k t^k with normalised coefficients z_k = z^(k)/k!.

    Arithmetic, smooth functions and linear maps act on it as on a tensor of the shape that one row has: + - * / ** @,
    the methods below, the torch functions of the same names, modules made of them. Everything can be differentiated
    as often as wanted in the coefficients. A function costs O(N^2) multiplications an entry, a linear map N + 1 rows.

    Args:
        coefficients: (layout.rows, *shape), floating point; row 0 is the value.
        layout: which row is what; one direction by default, row k being order k.

    Raises:
        ValueError: coefficients that do not fit the layout.

    Example:
        >>> x = Series.variable(torch.tensor([[0.0]]), order=3)
        >>> torch.tanh(x).derivatives().flatten()
        tensor([ 0.,  1.,  0., -2.])
    """

    # numpy would otherwise take a series apart, entry by entry.
    __array_ufunc__ = None

    def __init__(self, coefficients: Tensor, layout: Layout | None = None):
        if not coefficients.is_floating_point() or not coefficients.dim():
            raise ValueError(
                f"expected floating-point coefficients with one row an order, came {coefficients.dtype} of shape "
                f"{tuple(coefficients.shape)}: give (rows, *shape)"
            )
        layout = Layout.single(len(coefficients) - 1) if layout is None else layout
        if len(coefficients) != layout.rows:
            raise ValueError(
                f"expected {layout.rows} rows for {layout}, came {len(coefficients)}: give coefficients of shape "
                f"(layout.rows, *shape)"
            )
        self.coefficients = coefficients
        self.layout = layout

    @classmethod
    def variable(cls, points: Tensor, order: int, direction: Tensor | Sequence[float] | None = None) -> Series:
        """Return the straight line x + t v.

        Args:
            points: x, (n, d).
            order: N, 0 or above.
            direction: v, (d,); 1 by default, where d is 1 or the order 0.

        Returns:
            A series of one direction, of shape (n, d).

        Raises:
            ValueError: points that are no matrix, or a direction that is missing or does not fit.

        Example:
            >>> (Series.variable(torch.tensor([[3.0]]), 2) ** 2).coefficients.flatten()
            tensor([9., 6., 1.])
        """
        layout = Layout.single(order)
        if direction is None and order and points.dim() == 2 and points.shape[1] != 1:
            raise ValueError(
                f"expected a direction for points of {points.shape[1]} coordinates, came None: "
                f"give direction=(v_1, ..., v_{points.shape[1]})"
            )
        direction = torch.as_tensor([1.0] * points.shape[-1] if direction is None else direction).to(points)
        return cls.along(points, direction.expand(layout.directions(), *direction.shape), layout)

    @classmethod
    def along(cls, points: Tensor, directions: Tensor, layout: Layout) -> Series:
        """Return straight lines x + t v in every direction of a layout.

        Args:
            points: x, (n, d).
            directions: v, (layout.directions(), d), group after group.
            layout: the rows that are wanted.

        Returns:
            A series of shape (n, d): points, directions, then zeros.

        Raises:
            ValueError: points that are no matrix, or directions that do not fit points and layout.

        Example:
            >>> from solvers.layout import Group
            >>> layout = Layout((Group(2, 2, collapsed=True),))
            >>> x = Series.along(torch.tensor([[1.0, 2.0]]), torch.eye(2), layout)
            >>> (x * x).sum(-1).derivatives().flatten()
            tensor([5., 2., 4., 4.])
        """
        if points.dim() != 2:
            raise ValueError(f"expected points of shape (n, d), came {tuple(points.shape)}: add the missing dimension")
        n, d = points.shape
        if directions.shape != (layout.directions(), d):
            raise ValueError(
                f"expected directions of shape {(layout.directions(), d)} for {layout} and points of {d} coordinates, "
                f"came {tuple(directions.shape)}: give one row a direction, group after group"
            )
        blocks, lines = [points[None]], directions.to(points)[:, None].expand(-1, n, d)
        for group in layout.groups:
            blocks += [lines[: group.directions], points.new_zeros(group.rows - group.directions, n, d)]
            lines = lines[group.directions :]
        return cls(torch.cat(blocks), layout)

    def _like(self, coefficients: Tensor, layout: Layout | None = None) -> Series:
        result = object.__new__(type(self))
        result.__dict__.update(self.__dict__)
        result.coefficients = coefficients
        if layout is not None:
            result.layout = layout
        return result

    def _constant(self, value: Tensor) -> Series:
        return self._like(torch.cat([value[None], value.new_zeros(self.layout.rows - 1, *value.shape)]))

    @property
    def value(self) -> Tensor:
        """Row 0, of shape `shape`."""
        return self.coefficients[0]

    @property
    def order(self) -> int:
        """Highest order N of any direction."""
        return self.layout.order

    @property
    def shape(self) -> torch.Size:
        """Shape of one row, which is what a function written for tensors sees."""
        return self.coefficients.shape[1:]

    @property
    def ndim(self) -> int:
        """Number of dimensions of one row."""
        return self.coefficients.dim() - 1

    @property
    def dtype(self) -> torch.dtype:
        """Type of the coefficients."""
        return self.coefficients.dtype

    @property
    def device(self) -> torch.device:
        """Device of the coefficients."""
        return self.coefficients.device

    @property
    def requires_grad(self) -> bool:
        """Whether the coefficients carry a graph."""
        return self.coefficients.requires_grad

    @property
    def T(self) -> Series:
        """Every row transposed."""
        return self.transpose(0, 1)

    def dim(self) -> int:
        """Return the number of dimensions of one row.

        Returns:
            A count.
        """
        return self.ndim

    def size(self, dim: int | None = None) -> torch.Size | int:
        """Return the shape of one row, or one of its sizes.

        Args:
            dim: which, or None for all.

        Returns:
            The shape, or a length.
        """
        return self.shape if dim is None else self.shape[dim]

    def __len__(self) -> int:
        return len(self.value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(order={self.order}, rows={self.layout.rows}, shape={tuple(self.shape)})"

    def __getitem__(self, index: Any) -> Series:
        index = index if isinstance(index, tuple) else (index,)
        if sum(isinstance(part, Tensor | Sequence) for part in index) > 1:
            # Several index tensors may put their dimension first, before the rows: number the entries, and index those.
            entries = torch.arange(self.shape.numel(), device=self.device).view(self.shape)[index]
            return self._like(self.coefficients.flatten(1)[:, entries])
        return self._like(self.coefficients[(slice(None), *index)])

    def __iter__(self):
        return iter(self.unbind())

    def __getattr__(self, name: str) -> Any:
        # A method of tensors does what the torch function does, which may be to refuse, when called.
        function = None if name.startswith("_") else getattr(Tensor, name, None)
        if callable(function):
            return partial(_TORCH.get(function) or partial(_refuse, f"torch.Tensor.{name}"), self)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def derivatives(self) -> Tensor:
        """Return the derivatives z^(k) = k! z_k.

        Returns:
            (rows, *shape), in the order of the rows.

        Example:
            >>> Series(torch.tensor([1.0, 1.0, 1.0, 1.0])).derivatives()
            tensor([1., 1., 2., 6.])
        """
        factorials = torch.tensor([math.factorial(k) for k in orders(self.layout)], dtype=self.dtype)
        return self.coefficients * factorials.to(self.device).view(-1, *[1] * self.ndim)

    def d(self) -> Series:
        """Return the derivative along the direction, z'_k = (k + 1) z_{k+1}.

        Returns:
            A series of order N - 1.

        Raises:
            ValueError: order 0, or more than one direction.

        Example:
            >>> Series(torch.tensor([1.0, 1.0, 1.0, 1.0])).d().coefficients
            tensor([1., 2., 3.])
        """
        self._single("d()")
        if self.order == 0:
            raise ValueError(
                "expected a series of order 1 or above, came order 0: start from a variable of higher order"
            )
        k = torch.arange(1, self.order + 1, dtype=self.dtype, device=self.device)
        return self._like(self.coefficients[1:] * k.view(-1, *[1] * self.ndim), Layout.single(self.order - 1))

    def truncate(self, order: int) -> Series:
        """Return the series without the terms above an order.

        Args:
            order: 0 to N.

        Returns:
            A series of that order.

        Raises:
            ValueError: an order that the series does not have, or more than one direction.

        Example:
            >>> Series(torch.tensor([1.0, 2.0, 3.0])).truncate(1).coefficients
            tensor([1., 2.])
        """
        self._single("truncate")
        if not 0 <= order <= self.order:
            raise ValueError(f"expected an order from 0 to {self.order}, came {order}: start from a higher order")
        return self._like(self.coefficients[: order + 1], Layout.single(order))

    def compose(self, inner: Series) -> Series:
        """Return f(g(t)), where this is the series of f about g(0), by Horner's rule in g(t) - g(0).

        Args:
            inner: g, of one direction.

        Returns:
            A series of the lower of both orders, for N products.

        Raises:
            ValueError: more than one direction.

        Example:
            >>> f, g = Series(torch.tensor([0.0, 1.0, 1.0])), Series(torch.tensor([5.0, 2.0, 1.0]))
            >>> f.compose(g).coefficients
            tensor([0., 2., 5.])
        """
        self._single("compose")
        inner._single("compose")
        order = min(self.order, inner.order)
        step = inner.truncate(order) - inner.value
        result = step._constant(self.coefficients[order])
        for k in reversed(range(order)):
            result = step * result + self.coefficients[k]
        return result

    def _single(self, what: str) -> None:
        if not self.layout.is_single:
            raise ValueError(
                f"expected one direction for {what}, came {self.layout}: take a series of one direction at a time"
            )

    def _align(self, *others: Series) -> tuple[Layout, list[Tensor]]:
        series = (self, *others)
        if all(s.layout == self.layout for s in others):
            return self.layout, [s.coefficients for s in series]
        if all(s.layout.is_single for s in series):
            layout = Layout.single(min(s.order for s in series))
            return layout, [s.coefficients[: layout.rows] for s in series]
        raise ValueError(
            f"expected series of the same layout, came {' and '.join(str(s.layout) for s in series)}: "
            f"build all of them by Series.along with the same layout"
        )

    def _apply(self, name: str, *parameters: float) -> Series:
        function = partial(_function, name, parameters)
        return self._like(_by_direction(function, self.layout, self.coefficients))

    def _multiply(self, other: Series) -> Series:
        layout, operands = self._align(other)
        shape = torch.broadcast_shapes(self.shape, other.shape)
        operands = [_lift(c, len(shape)).expand(-1, *shape) for c in operands]
        return self._like(_by_direction(taylor_functions.product, layout, *operands), layout)

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Series:
        """Return z W^T + b, one matrix product for all rows; b enters the value alone.

        Args:
            weight: W, (outputs, inputs).
            bias: b, (outputs,).

        Returns:
            A series of shape (n, outputs).

        Example:
            >>> z = Series(torch.tensor([[[1.0]], [[1.0]]]))
            >>> z.linear(torch.tensor([[2.0]]), torch.ones(1)).coefficients.flatten()
            tensor([3., 2.])
        """
        return self._like(taylor_functions.affine(self.coefficients, weight, bias))

    def __add__(self, other: Series | Tensor | float) -> Series:
        if isinstance(other, Series):
            layout, (a, b) = self._align(other)
            ndim = max(self.ndim, other.ndim)
            return self._like(_lift(a, ndim) + _lift(b, ndim), layout)
        if not isinstance(other, Tensor | Real):
            return NotImplemented
        coefficients = self._lifted(other)
        value = coefficients[:1] + other
        return self._like(torch.cat([value, coefficients[1:].expand(-1, *value.shape[1:])]))

    def __mul__(self, other: Series | Tensor | float) -> Series:
        if isinstance(other, Series):
            return self._multiply(other)
        return self._like(self._lifted(other) * other) if isinstance(other, Tensor | Real) else NotImplemented

    def __truediv__(self, other: Series | Tensor | float) -> Series:
        if isinstance(other, Series):
            return self._multiply(other.reciprocal())
        return self._like(self._lifted(other) / other) if isinstance(other, Tensor | Real) else NotImplemented

    def __pow__(self, exponent: Series | Tensor | float) -> Series:
        if isinstance(exponent, Tensor) and not exponent.dim() and not exponent.requires_grad:
            exponent = exponent.item()
        if isinstance(exponent, Series | Tensor):
            return (self.log() * exponent).exp()
        if not isinstance(exponent, Real):
            return NotImplemented
        if exponent == int(exponent) and exponent >= 0:
            return self._natural_power(int(exponent))
        named = {-1.0: "reciprocal", 0.5: "sqrt"}.get(float(exponent))
        return self._apply(named) if named else self._apply("power", float(exponent))

    def _natural_power(self, exponent: int) -> Series:
        # By products alone: exact where the value is 0, which the recurrence of a general power divides by.
        result, square = None, self
        while exponent:
            if exponent & 1:
                result = square if result is None else result * square
            exponent >>= 1
            square = square * square if exponent else square
        return self._constant(torch.ones_like(self.value)) if result is None else result

    def __sub__(self, other: Series | Tensor | float) -> Series:
        return self + -other if isinstance(other, Series | Tensor | Real) else NotImplemented

    def __rsub__(self, other: Tensor | float) -> Series:
        return -self + other

    def __rtruediv__(self, other: Tensor | float) -> Series:
        return self.reciprocal() * other

    def __rpow__(self, base: Tensor | float) -> Series:
        return (self * torch.as_tensor(base, dtype=self.dtype, device=self.device).log()).exp()

    def __neg__(self) -> Series:
        return self._like(-self.coefficients)

    def __pos__(self) -> Series:
        return self

    __radd__ = __add__
    __rmul__ = __mul__

    def __matmul__(self, other: Series | Tensor) -> Series:
        if isinstance(other, Series):
            return _matrix_product(self, other)
        if not isinstance(other, Tensor):
            return NotImplemented
        if other.dim() == 1:
            return self.linear(other[None]).squeeze(-1)
        if other.dim() == 2:
            return self.linear(other.T)
        if self.ndim == 1:
            return (self.unsqueeze(0) @ other).squeeze(-2)
        return self._like(self._lifted(other) @ other)

    def __rmatmul__(self, other: Tensor) -> Series:
        if self.ndim == 1:
            return self.unsqueeze(-1).__rmatmul__(other).squeeze(-1)
        return self._like(other @ self._lifted(other))

    def _lifted(self, other: Tensor | float) -> Tensor:
        return _lift(self.coefficients, other.dim()) if isinstance(other, Tensor) else self.coefficients

    exp = _smooth("exp")
    expm1 = _smooth("expm1")
    log = _smooth("log")
    log1p = _smooth("log1p")
    sqrt = _smooth("sqrt")
    reciprocal = _smooth("reciprocal")
    sin = _smooth("sin")
    cos = _smooth("cos")
    tan = _smooth("tan")
    sinh = _smooth("sinh")
    cosh = _smooth("cosh")
    tanh = _smooth("tanh")
    sigmoid = _smooth("sigmoid")
    silu = _smooth("silu")
    atan = _smooth("atan")
    erf = _smooth("erf")
    gaussian = _smooth("gaussian")

    def square(self) -> Series:
        """Return z^2.

        Returns:
            The same layout and shape.
        """
        return self * self

    def rsqrt(self) -> Series:
        """Return 1/sqrt(z).

        Returns:
            The same layout and shape.
        """
        return self**-0.5

    def gelu(self, approximate: str = "none") -> Series:
        """Return z Phi(z), Phi being the normal distribution function.

        Args:
            approximate: "none", or "tanh" for torch's approximation of that name.

        Returns:
            The same layout and shape.
        """
        return self._apply("gelu" if approximate == "none" else "gelu_tanh")

    def softplus(self, beta: float = 1.0, threshold: float = 20.0) -> Series:
        """Return log(1 + exp(beta z))/beta.

        Args:
            beta: sharpness.
            threshold: accepted and not used: torch's softplus turns linear above it, this one stays smooth.

        Returns:
            The same layout and shape.
        """
        return self._apply("softplus") if beta == 1 else (self * beta)._apply("softplus") / beta

    def softmax(self, dim: int = -1) -> Series:
        """Return exp(z_i) / sum_j exp(z_j).

        Args:
            dim: dimension of one row that i and j run over.

        Returns:
            The same layout and shape.
        """
        weights = (self - self.value.detach().amax(dim, keepdim=True)).exp()
        return weights / weights.sum(dim, keepdim=True)

    @classmethod
    def __torch_function__(cls, function: Callable, types: Iterable[type], args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if "input" in kwargs:
            args = (kwargs.pop("input"), *args)
        implementation = _TORCH.get(function)
        if implementation is None or kwargs.pop("inplace", False) or kwargs.pop("out", None) is not None:
            _refuse(resolve_name(function) or getattr(function, "__name__", str(function)))
        return implementation(*args, **kwargs)


def _function(name: str, parameters: tuple[float, ...], z: Tensor) -> Tensor:
    return taylor_functions.apply(name, z, *parameters)


def _lift(coefficients: Tensor, ndim: int) -> Tensor:
    # Missing dimensions of the shape go behind the rows, where broadcasting alone would put them before.
    missing = ndim - (coefficients.dim() - 1)
    if missing <= 0:
        return coefficients
    return coefficients.view(len(coefficients), *[1] * missing, *coefficients.shape[1:])


def _by_direction(function: Callable[..., Tensor], layout: Layout, *operands: Tensor) -> Tensor:
    if layout.is_single:
        return function(*operands)
    stacks = [function(*stacks) for stacks in zip(*(_stacks(c, layout) for c in operands), strict=True)]
    rows = [stacks[0][:1, 0]]
    for group, stack in zip(layout.groups, stacks, strict=True):
        if group.collapsed:
            rows += [stack[1:-1].flatten(0, 1), stack[-1:].sum(1)]
        else:
            rows += [stack[1:].flatten(0, 1)]
    return torch.cat(rows)


def _stacks(coefficients: Tensor, layout: Layout) -> list[Tensor]:
    """Give every direction of a group all orders: (N + 1, K, *shape) for each group.

    The highest coefficients enter every operation as y_N = s_0 z_N + (lower orders), with the same s_0 for all
    directions. Only their sum matters, so that of a collapsed group each direction may take an equal share.
    """
    stacks = []
    for start, group in zip(layout.starts, layout.groups, strict=True):
        k, shape = group.directions, coefficients.shape[1:]
        rows = coefficients[start : start + group.rows]
        blocks = [coefficients[:1, None].expand(1, k, *shape)]
        if group.collapsed:
            top = (rows[-1:, None] / k).expand(1, k, *shape)
            blocks += [rows[:-1].unflatten(0, (group.order - 1, k)), top]
        else:
            blocks += [rows.unflatten(0, (group.order, k))]
        stacks.append(torch.cat(blocks))
    return stacks


def _matrix_product(a: Series, b: Series) -> Series:
    if a.ndim < 2 or b.ndim < 2:
        raise ValueError(
            f"expected two series of matrices, came shapes {tuple(a.shape)} and {tuple(b.shape)}: "
            f"write vectors as (a * b).sum(-1)"
        )
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)


# Maps that are linear and know nothing of orders: they act on every row as torch's own do, so that dimensions keep the
# meaning that they have for one row.
_ROWWISE = (
    "sum mean cumsum diff reshape view flatten unflatten squeeze unsqueeze transpose swapaxes permute movedim flip "
    "roll expand broadcast_to repeat tile select narrow index_select split chunk unbind clone detach contiguous to "
    "double float"
).split()


def _rowwise(name: str):
    def method(self: Series, *args: Any, **kwargs: Any) -> Series | tuple[Series, ...]:
        result = torch.vmap(lambda row: getattr(row, name)(*args, **kwargs))(self.coefficients)
        return self._like(result) if isinstance(result, Tensor) else tuple(self._like(part) for part in result)

    method.__name__ = name
    method.__qualname__ = f"Series.{name}"
    method.__doc__ = f"Return torch.Tensor.{name} of every row; the arguments are those for one row, of shape `shape`."
    return method


for _name in _ROWWISE:
    setattr(Series, _name, _rowwise(_name))


def _join(join: Callable[..., Tensor]):
    def function(tensors: Sequence[Series | Tensor], dim: int = 0) -> Series:
        layout, aligned = Series._align(*(t for t in tensors if isinstance(t, Series)))
        first = next(t for t in tensors if isinstance(t, Series))._like(aligned[0], layout)
        series = iter(aligned)
        rows = [next(series) if isinstance(t, Series) else first._constant(t).coefficients for t in tensors]
        return first._like(torch.vmap(lambda *row: join(row, dim=dim))(*rows))

    return function


def _einsum(equation, *operands):
    operands = operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    if sum(isinstance(z, Series) for z in operands) != 1:
        _refuse("torch.einsum of several series")
    place = next(i for i, z in enumerate(operands) if isinstance(z, Series))

    def row(z):
        return torch.einsum(equation, *operands[:place], z, *operands[place + 1 :])

    return operands[place]._like(torch.vmap(row)(operands[place].coefficients))


def _layer_norm(z, normalized_shape, weight=None, bias=None, eps=1e-5):
    dims = list(range(-len(normalized_shape), 0))
    centred = z - z.mean(dims, keepdim=True)
    result = centred * (centred.square().mean(dims, keepdim=True) + eps).rsqrt()
    result = result if weight is None else result * weight
    return result if bias is None else result + bias


def _divide(a, b, rounding_mode=None):
    if rounding_mode is not None:
        _refuse(f"torch.div(rounding_mode={rounding_mode!r})")
    return a / b if isinstance(a, Series) else b.__rtruediv__(a)


def _power(a, b):
    return a**b if isinstance(a, Series) else b.__rpow__(a)


def _matmul(a, b):
    return a @ b if isinstance(a, Series) else b.__rmatmul__(a)


def _subtract(a, b, alpha=1):
    b = b if alpha == 1 else alpha * b
    return a - b if isinstance(a, Series) else b.__rsub__(a)


def _linear(z, weight, bias=None):
    if not isinstance(z, Series):
        return weight.__rmatmul__(z) if bias is None else _refuse("torch.nn.functional.linear with a series as weight")
    return z.linear(weight, bias)


def _add(a, b, alpha=1):
    b = b if alpha == 1 else alpha * b
    return a + b if isinstance(a, Series) else b + a


_ARITHMETIC = {
    "add __add__ __radd__": _add,
    "sub subtract __sub__": _subtract,
    "rsub __rsub__": lambda a, b, alpha=1: _subtract(b, a if alpha == 1 else alpha * a),
    "mul multiply __mul__ __rmul__": lambda a, b: a * b if isinstance(a, Series) else b * a,
    "div divide true_divide __div__ __truediv__": _divide,
    "__rdiv__ __rtruediv__": lambda a, b: _divide(b, a),
    "pow float_power __pow__": _power,
    "__rpow__": lambda a, b: _power(b, a),
    "matmul mm bmm __matmul__": _matmul,
    "__rmatmul__": lambda a, b: _matmul(b, a),
    "neg negative __neg__": lambda z: -z,
    "linear": _linear,
    "addmm": lambda b, x, y, beta=1, alpha=1: beta * b + alpha * (x @ y),
    "cat concat concatenate": _join(torch.cat),
    "stack": _join(torch.stack),
    "einsum": _einsum,
    "softmax": lambda z, dim=-1, _stacklevel=3, dtype=None: z.softmax(dim),
    "layer_norm": _layer_norm,
    "mish": lambda z: z * z.softplus().tanh(),
    "logsigmoid": lambda z: -(-z).softplus(),
    "tanhshrink": lambda z: z - z.tanh(),
    "__getitem__": lambda z, index: z[index],
    "numel": lambda z: z.shape.numel(),
}
_METHODS = (
    "exp expm1 log log1p sqrt rsqrt reciprocal square sin cos tan sinh cosh tanh sigmoid silu gelu softplus atan "
    "arctan erf expit"
).split()
_OF_THE_VALUE = "zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty new_tensor".split()


def _method(name: str, series: Series, *args: Any, **kwargs: Any) -> Any:
    return getattr(series, name)(*args, **kwargs)


def _of_the_value(function: Callable, series: Series, *args: Any, **kwargs: Any) -> Tensor:
    return function(series.value, *args, **kwargs)


def _torch_functions() -> dict[Callable, Callable]:
    aliases = {"arctan": "atan", "expit": "sigmoid"}
    named = {name: implementation for names, implementation in _ARITHMETIC.items() for name in names.split()}
    named |= {name: partial(_method, aliases.get(name, name)) for name in (*_METHODS, *_ROWWISE)}
    table = {}
    for space in (torch, Tensor, functional, torch.special):
        found = [(name, getattr(space, name, None)) for name in (*named, *_OF_THE_VALUE)]
        for name, function in found:
            if function is not None:
                table[function] = named[name] if name in named else partial(_of_the_value, function)
    return table


_TORCH = _torch_functions()


def _refuse(name: str, *_: Any, **__: Any) -> NoReturn:
    raise TypeError(
        f"expected an operation that a truncated Taylor series has, came {name}: it must be smooth and must not depend "
        f"on the data (no comparison, no in-place change). Use + - * / ** @, {', '.join(_METHODS)}, cat, stack, "
        f"softmax, layer_norm, sums and reshaping, or give the module that calls it a rule: "
        f"solvers.register_rule(ModuleType, rule)"
    )


def _refused(name: str):
    def method(self: Series, *_: Any) -> NoReturn:
        _refuse(f"torch.Tensor.{name}")

    return method


# Equality included: by identity it would answer False to `z == 0`, and the branch be taken in silence.
for _name in "bool float int complex abs lt le gt ge eq ne floordiv rfloordiv mod rmod invert setitem".split():
    setattr(Series, f"__{_name}__", _refused(f"__{_name}__"))
Series.__hash__ = object.__hash__
