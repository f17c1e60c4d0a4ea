"""Cadences: when a probe is due."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.cadence import Every, Logarithmic

LAST = 20_000


@given(n=st.integers(1, 50), step=st.integers(0, 10**6))
def test_every_is_due_at_multiples(n, step):
    assert Every(n).due(step) == (step % n == 0)


@pytest.mark.parametrize("spacing", [1, 3, 4])
@pytest.mark.parametrize("per_decade", [1, 4, 7.5, 30, 1000])
def test_logarithmic_is_due_at_the_first_multiple_not_below_each_power(per_decade, spacing):
    powers = [10 ** (k / per_decade) for k in range(math.floor(per_decade * math.log10(LAST) + 1e-9) + 1)]
    expected = {0} | {math.ceil(power / spacing - 1e-9) * spacing for power in powers}
    due = {step for step in range(LAST + 1) if Logarithmic(per_decade, spacing).due(step)}
    assert due == {step for step in expected if step <= LAST}


def test_logarithmic_measures_as_often_as_its_docstring_says():
    due = [step for step in range(LAST + 1) if Logarithmic(30).due(step)]
    assert len(due) == 92
    assert sum(step <= 2000 for step in due) == 62
    assert all(after < 1.08 * before + 4 for before, after in itertools.pairwise(due) if before)


@pytest.mark.parametrize("power", range(1, 7))
def test_powers_of_ten_are_always_due(power):
    assert Logarithmic(3, spacing=1).due(10**power)
    assert Logarithmic(30, spacing=1).due(10**power)
    assert not Logarithmic(3, spacing=1).due(10**power + 1)


@pytest.mark.parametrize(
    ("make", "arguments"),
    [(Every, [0]), (Every, [-1]), (Logarithmic, [0]), (Logarithmic, [math.nan]), (Logarithmic, [30, 0])],
)
def test_a_cadence_that_is_never_due_is_refused(make, arguments):
    with pytest.raises(ValueError, match=f"expected .*came .*{arguments[-1]}"):
        make(*arguments)
