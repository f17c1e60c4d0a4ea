"""Numbers as they are written in the line that states a problem's equation."""

from __future__ import annotations


def in_pi(number: float) -> str:
    """Return a multiple of pi as it is written in an equation.

    Args:
        number: of pi.

    Returns:
        Plain text.

    Example:
        >>> in_pi(1), in_pi(4), in_pi(0.5)
        ('pi', '4 pi', '0.5 pi')
    """
    return "pi" if number == 1 else f"{number:.4g} pi"


def times(number: float, what: str) -> str:
    """Return a product as it is written in an equation, where a factor 1 is left out.

    Args:
        number: factor.
        what: it multiplies.

    Returns:
        Plain text.

    Example:
        >>> times(1.0, "u_xx"), times(0.01, "u_xx")
        ('u_xx', '0.01 u_xx')
    """
    return what if number == 1 else f"{number:.4g} {what}"
