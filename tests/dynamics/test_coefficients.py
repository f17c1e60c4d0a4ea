"""Unknown coefficients in a file: what is read of them, what is found about them, how they are drawn."""

import json
import math
import re

import numpy as np
import pytest
import xarray as xr

from dynamics.coefficients import known_coefficients
from dynamics.diagnosis import diagnose
from dynamics.report import report_html

STEP = np.arange(0, 2000, 10)
ROWS = len(STEP)


def run(values, known=None, errors=None, step=STEP, names=("nu", "rate")):
    """A run with a column of values for each coefficient."""
    value = np.stack(values, axis=1)
    labels = list(names)[: value.shape[1]]
    group = xr.Dataset({"value": (("step", "coefficient"), value)}, {"step": step, "coefficient": labels})
    tree = xr.DataTree.from_dict({"coefficients": group, "series": xr.Dataset({"loss": ("step", np.ones(2))})})
    settings = {"standard_error": errors} if errors is not None else {}
    tree.attrs["config"] = json.dumps({"problem": {"coefficients": known or {}, "settings": settings}})
    return tree


def bounds(low=0.0, high=1.0, exact=None):
    return {"start": 0.5, "low": low, "high": high, "how": "trained", "exact": exact}


def settling(end, start=0.5, over=100.0):
    return end + (start - end) * np.exp(-STEP / over)


def names(tree):
    return [(finding.name, finding.severity) for finding in diagnose(tree)]


def only(tree):
    (finding,) = diagnose(tree)
    return finding


# What is read.


def test_what_the_file_knows_is_read_and_what_it_does_not_is_absent():
    known = {"nu": bounds(exact=0.3), "rate": {"low": None, "high": "5", "exact": True, "how": "bounded"}}
    nu, rate = known_coefficients(run([settling(0.3), settling(2.0)], known, {"nu": 0.1}))
    assert (nu.name, nu.low, nu.high, nu.exact, nu.standard_error, nu.how) == ("nu", 0, 1, 0.3, 0.1, "trained")
    assert nu.error[0] == pytest.approx(0.2) and nu.errors_off < 1e-6 and nu.step.tolist() == STEP.tolist()
    assert (rate.low, rate.high, rate.how) == (-math.inf, math.inf, "bounded")
    assert math.isnan(rate.exact) and math.isnan(rate.standard_error) and math.isnan(rate.errors_off)
    assert np.isnan(rate.error).all() and rate.last == pytest.approx(2.0)


@pytest.mark.parametrize("config", ["", "[]", '{"problem": {"coefficients": [1], "settings": 3}}'])
def test_a_file_that_says_nothing_still_has_values(config):
    tree = run([settling(0.3)])
    tree.attrs["config"] = config
    (one,) = known_coefficients(tree)
    assert one.last == pytest.approx(0.3) and one.low == -math.inf
    assert known_coefficients(xr.DataTree()) == []
    strange = xr.DataTree.from_dict({"coefficients": xr.Dataset({"value": ("step", [1.0])})})
    assert known_coefficients(strange) == [] and diagnose(strange) == ()


# What is found.


def test_a_coefficient_on_its_bound_is_a_problem():
    value = np.where(STEP < 500, 0.5, 0.0)
    finding = only(run([value], {"nu": bounds()}))
    assert (finding.name, finding.severity) == ("coefficient_at_bound", "problem")
    (held,) = finding.evidence["held"]
    assert held["since"] == 500 and held["step"] == STEP[-1] and held["side"] == "lower" and held["distance"] == 0
    assert "ends on its bound: nu = 0 at step 1990, lower bound 0, there since step 500" in finding.message
    assert "widen the bound" in finding.advice


def test_one_close_to_its_bound_is_a_warning_unless_it_belongs_there():
    assert names(run([settling(0.992)], {"nu": bounds()})) == [("coefficient_at_bound", "warning")]
    assert names(run([settling(0.985)], {"nu": bounds()})) == []
    assert names(run([settling(0.992)], {"nu": bounds(exact=0.4)})) == [("coefficient_at_bound", "problem")]
    assert names(run([settling(0.992)], {"nu": bounds(exact=0.991)})) == []
    assert names(run([settling(1.984)], {"nu": bounds(high=2.0)})) == [("coefficient_at_bound", "warning")]


def test_a_single_bound_holds_what_lies_on_it_alone():
    assert names(run([settling(1e-3)], {"nu": bounds(high=None)})) == []
    assert names(run([np.maximum(1 - STEP / 500, 0)], {"nu": bounds(high=None)})) == [
        ("coefficient_at_bound", "problem")
    ]


def test_one_that_was_always_at_its_bound_and_gaps():
    value = np.where(STEP % 20 == 0, 1.0, np.nan)
    (held,) = only(run([value, settling(0.5)], {"nu": bounds(), "rate": bounds()})).evidence["held"]
    assert held["since"] == 0 and held["step"] == 1980 and held["coefficient"] == "nu"
    assert names(run([np.full(ROWS, np.nan)], {"nu": bounds()})) == []


def test_one_that_still_moves_is_told():
    finding = only(run([0.2 + STEP / 4000], {"nu": bounds()}))
    assert (finding.name, finding.severity) == ("coefficient_drifting", "warning")
    (moving,) = finding.evidence["moving"]
    assert (moving["first"], moving["step"]) == (1800, 1990) and moving["unit"] == "% of itself"
    assert moving["moved"] == pytest.approx(100 * (190 / 4000) / (0.2 + 1990 / 4000))


def test_the_standard_error_is_the_measure_where_it_is_known():
    value = 0.2 + STEP / 4000
    assert names(run([value], {"nu": bounds()}, {"nu": 0.05})) == []
    finding = only(run([value], {"nu": bounds()}, {"nu": 0.04}))
    assert finding.name == "coefficient_drifting" and "(1.2 standard errors)" in finding.message


def test_fluctuation_is_no_drift_and_a_short_run_is_not_judged():
    jitter = 0.3 + 0.05 * (-1.0) ** np.arange(ROWS) + STEP / 1e5
    assert names(run([jitter], {"nu": bounds()})) == []
    assert names(run([(0.2 + STEP / 4000)[:99]], {"nu": bounds()}, step=STEP[:99])) == []
    assert names(run([settling(0.3)], {"nu": bounds()})) == []


# What is drawn.


def test_the_report_tells_value_truth_error_and_bounds():
    known = {"nu": bounds(high=30.0, exact=0.3)}
    html = report_html(run([settling(0.301, over=20.0)], known, {"nu": 1e-3}))
    cells = re.findall(r"<td>(.*?)</td>", html[html.index('<h2 id="coefficients">') :])
    assert cells[:6] == ["0.301", "0.3", "1.0e-03", "1.0e-03 (1.0 of them off)", "0 to 30", "trained"]
    assert '<h2 id="coefficients">Coefficients</h2>' in html
    assert "Beyond the panel: upper bound 30." in html and "upper bound 30" in html
    labels = re.findall(r"<text[^>]*>(.*?)</text>", html)
    for label in ("nu", "true value", "standard error of the data", "lower bound", "|nu - true|", "its standard error"):
        assert label in labels, label
    assert "upper bound" not in labels


def test_without_truth_there_is_no_error_and_without_coefficients_nothing_is_missed():
    html = report_html(run([settling(0.3)], {"nu": bounds(low=None, high=None)}))
    assert "distance from the true value" not in html and "true value" not in html and "<td>none</td>" in html
    plain = report_html(xr.DataTree.from_dict({"series": xr.Dataset({"loss": ("step", [1.0, 0.5])})}))
    assert "Coefficients" not in plain


@pytest.mark.parametrize(
    ("low", "high", "said"), [(0.0, None, "from 0"), (None, 2.0, "up to 2"), (0.25, 0.5, "0.25 to 0.5")]
)
def test_bounds_on_one_side_and_both_are_told(low, high, said):
    assert f"<td>{said}</td>" in report_html(run([settling(0.3)], {"nu": bounds(low=low, high=high)}))


def test_values_that_never_were_finite_break_no_report():
    assert "Coefficients" not in report_html(run([np.full(ROWS, np.nan)], {"nu": bounds()}))
    html = report_html(run([np.full(ROWS, np.nan), settling(0.3)], {"nu": bounds(exact=0.2), "rate": bounds()}))
    assert 'aria-label="rate from' in html and 'aria-label="nu' not in html, "what is nowhere has no figure"
    assert re.search(r'<th scope="row">nu</th><td>-</td><td>0.2</td><td>-</td><td>-</td>', html)
