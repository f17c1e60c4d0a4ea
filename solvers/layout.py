"""How the rows of a Taylor series along several directions are stacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Group:
    """Directions that are differentiated to one order; collapsed, only the sum of their highest coefficients is kept.

    Args:
        directions: number K of directions.
        order: N, at least 1; at least 2 where collapsed.
        collapsed: keep one row for the sum over directions of the coefficients of order N.

    Raises:
        ValueError: no direction, or an order too low.

    Example:
        >>> Group(3, 4).rows, Group(3, 4, collapsed=True).rows
        (12, 10)
    """

    directions: int
    order: int
    collapsed: bool = False

    def __post_init__(self):
        if self.directions < 1 or self.order < 1 + self.collapsed:
            raise ValueError(
                f"expected at least one direction and order {1 + self.collapsed}, "
                f"came {self.directions} directions of order {self.order}"
            )

    @property
    def rows(self) -> int:
        """Rows of the group: K N, or K (N - 1) + 1 where collapsed."""
        return self.directions * (self.order - self.collapsed) + self.collapsed

    def row(self, direction: int, order: int) -> int:
        """Return where a coefficient stands inside the group; rows go by order, then by direction.

        Args:
            direction: 0 to K - 1.
            order: 1 to N.

        Returns:
            Row; the last one for the highest order of a collapsed group, whatever the direction.

        Example:
            >>> Group(2, 2).row(1, 2), Group(2, 2, collapsed=True).row(1, 2)
            (3, 2)
        """
        if self.collapsed and order == self.order:
            return self.rows - 1
        return (order - 1) * self.directions + direction


@dataclass(frozen=True)
class Layout:
    """Rows of a series: one for the value, which all directions share, then those of each group.

    Args:
        groups: may be empty, which leaves the value alone.

    Example:
        >>> Layout.single(3).rows
        4
        >>> Layout((Group(2, 2, collapsed=True), Group(1, 1))).starts
        (1, 4)
    """

    groups: tuple[Group, ...] = ()

    @classmethod
    def single(cls, order: int) -> Layout:
        """Return the layout of one direction.

        Args:
            order: 0 or above.

        Returns:
            One row for each order from 0.
        """
        return cls((Group(1, order),) if order else ())

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """First row of each group."""
        starts, row = [], 1
        for group in self.groups:
            starts.append(row)
            row += group.rows
        return tuple(starts)

    @cached_property
    def rows(self) -> int:
        """Number of rows."""
        return 1 + sum(group.rows for group in self.groups)

    @cached_property
    def order(self) -> int:
        """Highest order of any group."""
        return max((group.order for group in self.groups), default=0)

    @cached_property
    def is_single(self) -> bool:
        """Whether it is one direction, whose row k is order k."""
        return self == Layout.single(self.rows - 1)

    def directions(self) -> int:
        """Return the number of directions of all groups together.

        Returns:
            A count.
        """
        return sum(group.directions for group in self.groups)

    def row(self, group: int, direction: int, order: int) -> int:
        """Return the row of a coefficient.

        Args:
            group: index of the group.
            direction: inside the group.
            order: 0 to the group's.

        Returns:
            Row; 0 is the value of all of them.
        """
        return 0 if order == 0 else self.starts[group] + self.groups[group].row(direction, order)


def orders(layout: Layout) -> Sequence[int]:
    """Return the order of every row.

    Args:
        layout: any.

    Returns:
        One integer a row, for 1/k! weights.

    Example:
        >>> orders(Layout((Group(2, 2, collapsed=True),)))
        [0, 1, 1, 2]
    """
    result = [0]
    for group in layout.groups:
        for order in range(1, group.order + 1):
            collapsed_top = group.collapsed and order == group.order
            result += [order] * (1 if collapsed_top else group.directions)
    return result
