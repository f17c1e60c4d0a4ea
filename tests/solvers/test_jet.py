"""Partials by axis letters: parsing, sums, aliases, rows, the normal derivative, and every refusal."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from solvers.jet import Jet, parse_partial, single_partials

XY = ("x", "y")
XYT = ("x", "y", "t")


@pytest.mark.parametrize(
    ("name", "axes", "expected"),
    [
        ("", XY, {"": 1.0}),
        ("yx", XY, {"xy": 1.0}),
        ("tx", ("x", "t"), {"xt": 1.0}),
        ("xt", ("t", "x"), {"tx": 1.0}),
        ("xx+yy", XY, {"xx": 1.0, "yy": 1.0}),
        ("-xx+.5yy", XY, {"xx": -1.0, "yy": 0.5}),
        ("xxxx+2xxyy+yyyy", XY, {"xxxx": 1.0, "xxyy": 2.0, "yyyy": 1.0}),
        ("xy+yx", XY, {"xy": 2.0}),
        ("2.5x-1.5x", XY, {"x": 1.0}),
        ("laplacian", XYT, {"xx": 1.0, "yy": 1.0}),
        ("laplacian", ("x",), {"xx": 1.0}),
        ("bilaplacian", XYT, {"xxxx": 1.0, "xxyy": 2.0, "yyyy": 1.0}),
        (
            "bilaplacian",
            ("x", "y", "z"),
            {"xxxx": 1.0, "xxyy": 2.0, "xxzz": 2.0, "yyyy": 1.0, "yyzz": 2.0, "zzzz": 1.0},
        ),
    ],
)
def test_partials_are_parsed(name, axes, expected):
    assert parse_partial(name, axes) == expected


@given(
    parts=st.dictionaries(
        st.text("xyt", min_size=1, max_size=4).map(lambda s: "".join(sorted(s, key=XYT.index))),
        st.integers(-9, 9).filter(bool),
        min_size=1,
    )
)
def test_a_sum_that_is_written_out_is_read_back(parts):
    text = "".join(f"{'-' if c < 0 else '+'}{abs(c)}{letters}" for letters, c in parts.items())
    assert parse_partial(text, XYT) == parts
    assert parse_partial(text.removeprefix("+"), XYT) == parts


@pytest.mark.parametrize("name", ["q", "xq", "x+", "+", "2", "x y", "xx*yy", "x2", "xx++yy", "Laplacian", "n", "."])
def test_what_is_no_partial_is_refused_by_name(name):
    with pytest.raises(ValueError, match=r"is not a partial.*axes x, y.*'xx\+yy'") as caught:
        parse_partial(name, XY)
    assert repr(name) in str(caught.value)


def test_an_unknown_letter_is_named():
    with pytest.raises(ValueError, match="q is no axis"):
        parse_partial("xq", XY)


def test_single_partials_come_once_value_first_lowest_order_next():
    assert single_partials(["yx", "laplacian", "xx+t", "xy"], XYT) == ("", "t", "xx", "xy", "yy")
    assert single_partials([], XY) == ("",)
    assert single_partials(["n"], XYT) == ("", "x", "y")


def jet_of_rows(counts, axes=XY, normals=None):
    n = sum(counts)
    values = {letters: torch.arange(n, dtype=torch.float64)[:, None] + 100 * i for i, letters in enumerate(("", *axes))}
    return Jet(axes, values, counts, normals)


def test_rows_are_interior_then_boundary_then_initial():
    jet = jet_of_rows((3, 2, 4))
    for view, rows in ((jet.interior, slice(0, 3)), (jet.boundary, slice(3, 5)), (jet.initial, slice(5, 9))):
        for letters in ("", "x", "y"):
            assert torch.equal(view[letters], jet[letters][rows])
            assert view[letters].data_ptr() == jet[letters][rows].data_ptr()
        assert sum(view.counts) == len(view[""])
    assert jet.boundary.counts == (0, 2, 0)


def test_sums_and_orderings_are_read_from_what_was_planned():
    values = {"": torch.ones(1, 2), "xx": torch.tensor([[2.0, 3.0]]), "yy": torch.tensor([[5.0, 7.0]])}
    values["xy"] = torch.tensor([[11.0, 13.0]])
    jet = Jet(XY, values, (1, 0, 0))
    assert jet["yx"].tolist() == [[11.0, 13.0]]
    assert jet["laplacian"].tolist() == jet["xx+yy"].tolist() == [[7.0, 10.0]]
    assert jet["-xx+3xy"].tolist() == [[31.0, 36.0]]


def test_a_partial_that_was_not_planned_is_named_with_what_was():
    with pytest.raises(KeyError, match=r"'xx' was not planned.*\['', 'x', 'y'\].*operator.plan"):
        jet_of_rows((1, 0, 0))["xx+x"]


def test_the_normal_derivative_is_the_gradient_along_the_normals():
    normals = torch.tensor([[0.6, 0.8, 0.0], [0.0, -1.0, 0.0]], dtype=torch.float64)
    jet = jet_of_rows((3, 2, 1), XYT, normals)
    jet = Jet(XYT, {letters: jet[letters] for letters in ("", "x", "y")}, jet.counts, normals)
    expected = [[0.6 * (3 + 100) + 0.8 * (3 + 200)], [-(4 + 200.0)]]
    assert torch.allclose(jet.boundary["n"], torch.tensor(expected, dtype=torch.float64), rtol=1e-15)


@pytest.mark.parametrize("view", ["interior", "initial", "whole", "no normals"])
def test_the_normal_derivative_exists_on_boundary_rows_with_normals_only(view):
    normals = None if view == "no normals" else torch.ones(2, 2, dtype=torch.float64)
    jet = jet_of_rows((3, 2, 1), normals=normals)
    jet = {"whole": jet, "no normals": jet.boundary}.get(view) or getattr(jet, view)
    with pytest.raises(KeyError, match=r"boundary rows.*Points\(normals"):
        jet["n"]
