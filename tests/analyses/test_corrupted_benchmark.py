"""One file of every kind that does not take seconds: nothing hangs, grows, crashes, is touched, or fails in riddles."""

from analyses.benchmarks.corrupted import Tally, measure
from analyses.benchmarks.corrupted_calls import Observed, is_clear, judge
from analyses.benchmarks.corrupted_cases import LARGE, SIMILAR, Case, schedule
from analyses.benchmarks.damage import DAMAGE
from analyses.benchmarks.hostile import INSTEAD, MADE
from dynamics.file.opening import TrajectoryError

LEFT_OUT = (*LARGE, *SIMILAR)
CASE = Case("truncated", "small")
CALL = {"name": "info", "seconds": 0.1, "memory": 1, "grown": 0, "died": 0, "refused": True, "unclear": ""}


def test_one_file_of_every_kind():
    tally = measure(0, seed=0, leave_out=LEFT_OUT)
    assert tally.files == len(schedule(0, 0, LEFT_OUT)) >= 40
    assert (tally.crashes, tally.touched, tally.heavy, tally.hangs, tally.unclear) == (0,) * 5, tally.examples
    assert 20e6 < tally.memory < 500e6
    assert all(tally.refused[name] > 30 for name in ("validate", "info", "open_trajectory"))


def test_every_kind_has_its_turn():
    assert {case.kind for case in schedule(0, 0)} == {*DAMAGE, "spliced", *MADE, *INSTEAD}
    assert {*LEFT_OUT} <= {*MADE, *INSTEAD}
    assert len(schedule(500, 3)) == 500 and schedule(500, 3) == schedule(500, 3) != schedule(500, 4)


def test_what_goes_wrong_is_counted():
    tally = Tally()
    tally.add(CASE, [CALL], [])
    assert (tally.files, tally.refused["info"], tally.examples) == (1, 1, [])
    tally.add(CASE, None, ["outside/secret.txt"])
    tally.add(CASE, [CALL | {"seconds": 5.6}], [])
    tally.add(CASE, [CALL | {"memory": 500_000_001}, CALL | {"grown": 500_000_000}], [])
    tally.add(CASE, [CALL | {"unclear": "what", "died": 1}], [])
    assert (tally.crashes, tally.touched, tally.hangs, tally.heavy, tally.unclear, tally.deaths) == (1, 1, 1, 2, 1, 1)
    assert (tally.files, tally.slowest, tally.memory, len(tally.examples)) == (5, 5.6, 500_000_001, 6)


def test_riddles_are_told_from_errors():
    def fail(error):
        def call():
            raise error

        return judge("info", "run.h5", call, Observed())["unclear"]

    assert fail(TrajectoryError("run.h5: expected a trajectory, came no file: check the path")) == ""
    assert fail(TrajectoryError("expected a trajectory, came no file: check the path"))
    assert fail(KeyError("run.h5: expected a trajectory, came no file: check the path"))
    assert fail(OSError("run.h5: Unable to synchronously open file (bad object header version number)"))
    assert not is_clear("run.h5: expected\x1b[31m a trajectory, came no file") and not is_clear("run.h5: bad")
