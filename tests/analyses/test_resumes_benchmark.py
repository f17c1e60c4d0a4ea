"""The benchmark of resumes: that it counts, and that it sees a resume that is not to the last bit."""

import h5py
import numpy as np
import pytest

from analyses.benchmarks import resumes


@pytest.mark.parametrize("fresh", [0, 1])
def test_resumes_are_counted(fresh, capsys):
    found = resumes.main(
        count=2 - fresh, fresh=fresh, only=["Schedule Adam, LBFGS, LM"], quick=False, seed=3, json_file=None
    )
    total = 2 - fresh
    assert found["Schedule Adam, LBFGS, LM"]["all"] == f"{total} of {total}"
    assert f"{total} of {total}" in capsys.readouterr().out


def test_one_bit_in_one_stream_is_seen(tmp_path):
    first, second = str(tmp_path / "first.h5"), str(tmp_path / "second.h5")
    for path in (first, second):
        resumes.uninterrupted("Adam", path)
    assert resumes.departures(first, second) == []
    with h5py.File(second, "r+") as file:
        values = file["parameters/value"]
        row = values[-1]
        row[0] = np.nextafter(row[0], np.inf)
        values[-1] = row
        file["series/time"][0] = 99.0
    assert resumes.departures(first, second) == ["parameters/value"]
    counted = resumes._counted([(True, []), (False, ["parameters/value"])])
    assert (counted["all"], counted["in process"], counted["fresh process"]) == ("1 of 2", "0 of 1", "1 of 1")
