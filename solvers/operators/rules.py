"""How modules meet Taylor series: those that cannot take one as they are get a rule; the others need none."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import RLock

from torch import nn

from solvers.series import Series

Rule = Callable[..., Series]

_PASSING = RLock()

RULES: dict[type[nn.Module], Rule] = {}


def register_rule(module_type: type[nn.Module], rule: Rule) -> None:
    """Say how modules of a type, and of its subclasses, act on a Taylor series.

    A module whose `forward` uses smooth torch functions needs no rule: series pass through it. A rule replaces
    `forward` where that is not so, or where it can be done better.

    Args:
        module_type: class of modules.
        rule: (module, series) -> series; the series behaves as a tensor of shape (n, width). Further arguments of
            `forward` are handed on.

    Raises:
        TypeError: no class of modules.

    Example:
        >>> class Cube(nn.Module):
        ...     def forward(self, x):
        ...         return x.pow_(3)
        >>> register_rule(Cube, lambda module, x: x * x * x)
        >>> from solvers import Points, TangentProp
        >>> TangentProp().plan(Points([[2.0]]), ["xx"])(Cube())["xx"].item()
        12.0
    """
    if not (isinstance(module_type, type) and issubclass(module_type, nn.Module)):
        raise TypeError(f"expected a class of modules, came {module_type!r}: give the class, not a module")
    RULES[module_type] = rule


def rule_of(module: nn.Module) -> Rule | None:
    """Return the rule registered for a module's class or the nearest base class.

    Args:
        module: any.

    Returns:
        The rule or None.
    """
    return next((RULES[kind] for kind in type(module).__mro__ if kind in RULES), None)


def has_rules(network: object) -> bool:
    """Return whether a rule applies to any part of a network.

    Args:
        network: anything.

    Returns:
        True where one does.
    """
    return bool(RULES) and isinstance(network, nn.Module) and any(rule_of(module) for module in network.modules())


@contextmanager
def rules_applied(network: object) -> Iterator[None]:
    """Let the rules answer in their modules' place while a series passes through a network.

    Args:
        network: anything.

    Yields:
        Nothing.

    Raises:
        TypeError: a series met something it cannot pass; the message names the innermost module.
    """
    changed, ruled = [], has_rules(network)
    # A rule stands in the module while the series passes: one thread at a time.
    if ruled:
        _PASSING.acquire()
    try:
        for module in network.modules() if ruled else ():
            rule = rule_of(module)
            if rule is not None and "forward" not in vars(module):
                module.forward = partial(_forward, module, rule, module.forward)
                changed.append(module)
        yield
    except TypeError as error:
        module = _innermost(error)
        if module is None:
            raise
        raise TypeError(f"{type(module).__name__}: {error}") from error
    finally:
        for module in changed:
            del module.forward
        if ruled:
            _PASSING.release()


def _forward(module: nn.Module, rule: Rule, plain: Callable, *args, **kwargs):
    given = any(isinstance(value, Series) for value in (*args, *kwargs.values()))
    return rule(module, *args, **kwargs) if given else plain(*args, **kwargs)


def _innermost(error: BaseException) -> nn.Module | None:
    """Return the module in whose `forward` an error arose."""
    modules = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = [module for module in modules if isinstance(module, nn.Module)]
    return modules[-1] if modules else None
