"""Rows in memory, against a twin that keeps a dictionary a row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamics.file.pending_scalars import PendingScalars
from dynamics.file.rows import Rows
from dynamics.format import Stream, Variable

NAMES = ("a", "b", "c")
floats = st.floats(width=64)
numbers = st.one_of(floats, st.integers(-(2**53), 2**53), floats.map(np.float64), st.just(np.float32(0.1)))
given_rows = st.lists(st.dictionaries(st.sampled_from(NAMES), numbers), min_size=1, max_size=12)


def twin(rows):
    """Columns of rows that are dictionaries, without the names that none of them has."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([float(row.get(name, np.nan)) for row in rows]) for name in names}


def same(found, expected):
    assert set(found) == set(expected)
    for name, column in expected.items():
        np.testing.assert_array_equal(found[name].view(np.int64), column.view(np.int64), err_msg=name)


@settings(max_examples=60, deadline=None)
@given(rows=given_rows, cuts=st.lists(st.integers(0, 12), max_size=4), written=st.integers(0, 5), arrays=st.booleans())
def test_blocks_are_what_was_appended_whatever_is_dropped_when(rows, cuts, written, arrays):
    pending = Rows(Stream("probe", [Variable(name) for name in NAMES]), declared=True)
    pending.written = written
    kept, cuts = [], list(cuts)
    for step, row in enumerate(rows):
        extra = {"field": [step, step + 0.5]} if arrays and step % 3 != 1 else {}
        assert pending.append(10 * step, 0.25 * step, {**row, **extra}) == {}
        kept.append((step, row, extra))
        if cuts and step % 2:
            count = min(cuts.pop(), len(kept))
            pending.drop(count)
            written, kept = written + count, kept[count:]
        for count in {len(kept), len(kept) // 2}:
            blocks = pending.blocks(count)
            part = kept[:count]
            assert blocks.pop("step").tolist() == [10 * number for number, _, _ in part]
            assert blocks.pop("time").tolist() == [0.25 * number for number, _, _ in part]
            field = blocks.pop("field", None)
            assert (field is not None) == any(extra for _, _, extra in part)
            if field is not None:
                wanted = [extra.get("field", [np.nan, np.nan]) for _, _, extra in part]
                np.testing.assert_array_equal(field, wanted)
            same(blocks, twin([row for _, row, _ in part]))
        assert (len(pending.pending), pending.written) == (len(kept), written)
        assert pending.pending_bytes == sum(16 for _, _, extra in kept if extra)


def test_evaluations_are_numbered_from_those_written():
    rows = Rows(Stream("evaluations"))
    for step in (4, 4, 5):
        rows.append(step, 0.0, {"loss": 1.0})
    rows.drop(2)
    assert rows.blocks(1)["evaluation"].tolist() == [2]
    assert rows.blocks(1)["step"].tolist() == [5]


@pytest.mark.parametrize("bad", ["text", 1j, [1.0], np.ones(1), 2**70, None])
def test_the_quick_way_lets_nothing_else_in(bad):
    rows = Rows(Stream("series"))
    for step in range(3):
        rows.append(step, 0.0, {"a": 1.0, "b": 2.0})
    with pytest.raises(ValueError, match="series/b: expected"):
        rows.append(3, 0.0, {"a": 1.0, "b": bad})
    with pytest.raises(ValueError, match="expected a step after 2, came 2"):
        rows.append(2, 0.0, {"a": 1.0, "b": 2.0})
    # A row is refused as a whole.
    assert [len(block) for block in rows.blocks(len(rows.pending)).values()] == [3] * 4
    rows.append(3, 0.0, {"b": True, "a": np.float32(0.5)})
    assert rows.blocks(4)["b"].tolist() == [2.0, 2.0, 2.0, 1.0]
    assert rows.blocks(4)["a"].tolist() == [1.0, 1.0, 1.0, 0.5]


def test_names_in_another_order_are_the_same_columns():
    rows = Rows(Stream("series"))
    rows.append(0, 0.0, {"a": 1.0, "b": 2.0})
    rows.append(1, 0.0, {"b": 4.0, "a": 3.0})
    rows.append(2, 0.0, {"b": 6.0, "a": 5.0})
    assert rows.blocks(3)["a"].tolist() == [1.0, 3.0, 5.0]
    assert rows.blocks(3)["b"].tolist() == [2.0, 4.0, 6.0]


def test_late_scalars_are_handed_back_each_time():
    rows = Rows(Stream("series"))
    rows.append(0, 0.0, {"a": 1.0})
    rows.frozen = True
    for step in (1, 2, 3):
        assert rows.append(step, 0.0, {"a": 1.0, "late": 2.0}) == {"late": 2.0}
    assert "late" not in rows.blocks(4)


def test_a_step_that_is_no_int64_leaves_the_rows_as_they_were():
    rows = Rows(Stream("series"))
    rows.append(0, 0.0, {"a": 1.0})
    with pytest.raises(OverflowError):
        rows.append(2**63, 0.0, {"a": 1.0})
    rows.append(1, 0.5, {"a": 2.0})
    assert {name: block.tolist() for name, block in rows.blocks(2).items()} == {
        "step": [0, 1],
        "time": [0.0, 0.5],
        "a": [1.0, 2.0],
    }


def test_due_and_chunks():
    rows = Rows(Stream("series"))
    assert (rows.due, rows.chunk(), rows.chunk((100, 100))) == (1024, 1024, 1)
    rows.written = 1024
    assert rows.due == 2048
    assert Rows(Stream("probe")).due == 128


def test_scalars_without_names_are_rows_too():
    scalars = PendingScalars()
    for row, names in enumerate([(), ("a",), (), ("a",)]):
        scalars.append(row, names, [1.0] * len(names))
    np.testing.assert_array_equal(scalars.blocks(0, 4)["a"], [np.nan, 1.0, np.nan, 1.0])
    scalars.drop(2)
    np.testing.assert_array_equal(scalars.blocks(2, 4)["a"], [np.nan, 1.0])
    scalars.drop(4)
    assert scalars.blocks(4, 4) == {}


def test_an_integer_array_is_missed_also_after_rows_without_one():
    rows = Rows(Stream("probe", [Variable("a"), Variable("ints", ("x",), dtype="i4")]))
    rows.append(0, 0.0, {"a": 1.0, "ints": np.array([1, 2])})
    for _ in range(2):
        with pytest.raises(ValueError, match="probe/ints: expected a value in every row"):
            rows.append(1, 0.0, {"a": 1.0})
