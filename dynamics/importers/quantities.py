"""What the names in a log mean: the loss, its terms and their weights, the learning rate, errors, and the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dynamics.format import COMMITTED, KNOWN, ROW

TOTAL = ("total", "train", "training", "sum", "overall")
HELD_OUT = re.compile(r"^(val|valid|validation|test|eval|hp|hparams?)(?=[/_.\s]|$)", re.IGNORECASE)
TRAINING = re.compile(r"^(train|training)[/_.]", re.IGNORECASE)
SUFFIX = re.compile(r"_(step|epoch)$", re.IGNORECASE)
TERM_LOSS = re.compile(r"^(?:(?P<before>.+?)[_/.]loss(?:es)?|loss(?:es)?[_/.](?P<after>.+))$", re.IGNORECASE)
TERM_WEIGHT = re.compile(
    r"^(?:(?P<before>.+?)[_/.](?:weight|lambda)s?|(?:loss_)?(?:weight|lambda)s?[_/.](?P<after>.+))$",
    re.IGNORECASE,
)
LOSSES = ("loss", "total_loss", "losses/total")
RATES = re.compile(r"^(lr|learning_rate)([-/_].*)?$")
ERRORS = re.compile(r"^(rel(ative)?_l2(_err(or)?)?|l2_rel(ative)?_err(or)?|l2_err(or)?|l2 relative error)$")
NORMS = re.compile(r"^grad(ient)?_norm$")
SCALARS = frozenset(name for name, variable in KNOWN["series"].items() if not variable.dims)
PLACES = ("loss_raw", "loss_weight")


@dataclass
class Meanings:
    """Where the columns of a log belong.

    Args:
        scalars: variable of `/series` -> name in the log.
        terms: term -> name of its loss in the log.
        weights: term -> name of its weight in the log.
        others: variable of `/series` -> name in the log, for what the format has no name for.

    Example:
        >>> Meanings({"loss": "train_loss"}).terms
        {}
    """

    scalars: dict[str, str] = field(default_factory=dict)
    terms: dict[str, str] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)

    def give_up_terms(self) -> None:
        """Let the terms and weights keep their own names: they are no parts of one loss."""
        for name in (*self.terms.values(), *self.weights.values()):
            self.keep(name)
        self.terms, self.weights = {}, {}

    def keep(self, name: str) -> None:
        """Give a quantity that the format has no place for a variable of its own name.

        Args:
            name: in the log.
        """
        self.others[_identifier(name, {*self.scalars, *self.others})] = name


def meanings(logged: Iterable[str], names: Mapping[str, str] | None = None) -> Meanings:
    """Say what the names in a log mean.

    A term is what is called X_loss, loss_X, loss/X or X/loss, with or without train in front, where X is not the total
    or a validation; its weight is X_weight, weight/X or lambda_X. The loss is loss, train_loss, total_loss. Values
    of a step come before means of an epoch (`_step`, `_epoch`). What the rules do not know keeps its name.

    Args:
        logged: names in the log.
        names: name in the log -> "loss", "learning_rate" or another scalar of `/series`, "loss_raw/TERM",
            "loss_weight/TERM", or "" to leave it out; takes precedence over the rules.

    Returns:
        The meanings.

    Raises:
        ValueError: A name that is not in the log, a place that does not exist, or one that is given twice.

    Source: names as PINA, Lightning, jaxpi and PhysicsNeMo write them, and as their users do.

    Example:
        >>> meanings(["train_loss", "pde_loss", "bc_loss", "lr-Adam", "val_loss"]).terms
        {'pde': 'pde_loss', 'bc': 'bc_loss'}
    """
    logged, found = list(logged), Meanings()
    stated = _stated(logged, dict(names or {}), found)
    # What is logged per step wins its place over the mean of an epoch, what is the training's over a validation's.
    rest = sorted((name for name in logged if name not in stated), key=_precedence)
    for name in rest:
        place = _place(name)
        if place is None or not _free(found, place):
            continue
        _put(found, place, name)
    for term in [term for term in found.weights if term not in found.terms]:
        del found.weights[term]
    used = {*stated, *found.scalars.values(), *found.terms.values(), *found.weights.values()}
    for name in logged:
        if name not in used:
            found.keep(name)
    return found


def _stated(logged: list[str], names: dict[str, str], found: Meanings) -> set[str]:
    for name, place in names.items():
        if name not in logged:
            raise ValueError(f"expected a name of the log, came {name!r}: it has {', '.join(sorted(logged)[:20])}")
        kind, _, term = place.partition("/")
        if place and place not in SCALARS and not (kind in PLACES and term):
            raise ValueError(
                f"expected a place such as 'loss', 'learning_rate', 'rel_l2' or 'loss_raw/interior', came {place!r} "
                f"for {name!r}: the scalars are {', '.join(sorted(SCALARS))}"
            )
        if place and not _free(found, place):
            raise ValueError(f"expected each place once, came {place!r} for {name!r} too: name one of them")
        if place:
            _put(found, place, name)
    return set(names)


def _precedence(name: str) -> tuple[bool, bool]:
    lower = name.lower()
    return HELD_OUT.match(lower) is not None, lower.endswith("_epoch")


def _place(name: str) -> str | None:
    plain = TRAINING.sub("", SUFFIX.sub("", name.strip()))
    lower = plain.lower()
    if lower in LOSSES:
        return "loss"
    if RATES.match(lower):
        return "learning_rate"
    if ERRORS.match(HELD_OUT.sub("", lower).lstrip("/_. ")):
        return "rel_l2"
    if NORMS.match(lower):
        return "gradient_norm"
    if lower in SCALARS:
        return lower
    for pattern, kind in ((TERM_WEIGHT, "loss_weight"), (TERM_LOSS, "loss_raw")):
        if match := pattern.match(plain):
            term = match["before"] or match["after"]
            if HELD_OUT.match(term):
                return None
            return "loss" if term.lower() in TOTAL and kind == "loss_raw" else f"{kind}/{term}"
    return None


def _free(found: Meanings, place: str) -> bool:
    kind, _, term = place.partition("/")
    return term not in _kind(found, kind) if term else place not in found.scalars


def _put(found: Meanings, place: str, name: str) -> None:
    kind, _, term = place.partition("/")
    if term:
        _kind(found, kind)[term] = name
    else:
        found.scalars[place] = name


def _kind(found: Meanings, kind: str) -> dict[str, str]:
    return found.terms if kind == "loss_raw" else found.weights


def _identifier(name: str, taken: set[str]) -> str:
    """Make a name of a variable; one that the format uses for something else gets a suffix."""
    plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "value"
    plain = f"value_{plain}" if plain[0].isdigit() else plain
    reserved = {*KNOWN["series"], *ROW, COMMITTED, "term", "band"}
    candidate, count = plain if plain not in reserved else f"{plain}_logged", 1
    while candidate in taken or candidate in reserved:
        count += 1
        candidate = f"{plain}_{count}"
    return candidate
