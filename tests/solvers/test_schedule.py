"""Schedules: when stages end, what the steps say of it, evaluations counted, checkpoints in every stage."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from solvers import MLP, AutoDiff, Torch, steps, train
from solvers.optimizers.lbfgs import LBFGS
from solvers.optimizers.levenberg_marquardt import LevenbergMarquardt
from solvers.optimizers.optimizer import StepInfo
from solvers.optimizers.schedule import Schedule
from solvers.optimizers.until import Evaluations, Progress, Stalled, Steps, Stopped
from solvers.problems import poisson_1d
from tests.solvers.more_garbow_hillstrom import PROBLEMS

ROSENBROCK = PROBLEMS[-1]


class Shared:
    """An objective that evaluates once a version of the vector."""

    def __init__(self, problem=ROSENBROCK):
        self.problem, self.count, self.latest = problem, 0, (None, None)

    def __call__(self, vector):
        if self.latest[0] != vector._version:
            self.count += 1
            self.latest = (vector._version, self.problem.objective(vector))
        return self.latest[1]


def run(schedule, count=200, objective=None, problem=ROSENBROCK):
    vector = torch.tensor(problem.start, dtype=torch.float64)
    objective = objective or Shared(problem)
    state, infos = schedule.init(vector), []
    for _ in range(count):
        state, info = schedule.step(objective, state)
        infos.append(info)
        if info.stopped:
            break
    return vector, infos, state, objective


def test_stages_follow_each_other_and_the_last_one_ends_the_run():
    vector, infos, _, _ = run(Schedule((LBFGS(), Steps(5)), (LBFGS(history=3), Steps(4)), LevenbergMarquardt()))
    assert [info.stage for info in infos] == [0] * 5 + [1] * 4 + [2] * (len(infos) - 9)
    assert [info.switched for info in infos[:10]] == [None] * 4 + ["Steps(count=5)"] + [None] * 3 + [
        "Steps(count=4)",
        None,
    ]
    assert (
        np.isnan([info.damping for info in infos[:9]]).all()
        and np.isfinite([info.damping for info in infos[9:-1]]).all()
    )
    assert all(info.step_length > 0 for info in infos[:9])
    assert (vector - 1).abs().max() < 1e-9
    assert all(info.stopped is None for info in infos[:-1]) and infos[-1].stopped.startswith("gradient below")
    assert infos[-1].switched is None


def test_a_schedule_makes_the_steps_of_its_optimizers():
    vector, _, _, objective = run(Schedule((LBFGS(), Steps(6)), LevenbergMarquardt()), count=9)
    expected = torch.tensor(ROSENBROCK.start, dtype=torch.float64)
    alone = Shared()
    for optimizer, count in ((LBFGS(), 6), (LevenbergMarquardt(), 3)):
        state = optimizer.init(expected)
        for _ in range(count):
            state, _ = optimizer.step(alone, state)
    assert torch.equal(vector, expected) and objective.count == alone.count


def test_an_optimizer_that_stops_hands_over_under_any_condition():
    first = LBFGS(tolerance_gradient=1e-1)
    _, infos, _, _ = run(Schedule((first, Steps(10**6)), LBFGS()))
    handed = [info for info in infos if info.switched]
    assert len(handed) == 1 and handed[0].switched == "gradient below tolerance_gradient = 0.1"
    _, others, _, _ = run(Schedule(first, LBFGS()))
    assert [info.switched for info in others] == [info.switched for info in infos]


@pytest.mark.parametrize("limit", [1, 7, 20])
def test_evaluations_are_counted_once_a_vector(limit):
    schedule = Schedule((LBFGS(), Evaluations(limit)), LevenbergMarquardt())
    vector = torch.tensor(ROSENBROCK.start, dtype=torch.float64)
    objective, state = Shared(), schedule.init(vector)
    while state.stage == 0:
        before = objective.count
        state, info = schedule.step(objective, state)
    assert before < limit <= objective.count or limit == 1
    assert info.switched == f"Evaluations(count={limit})"


def test_evaluations_of_an_optimizer_that_moves_after_evaluating_are_counted():
    schedule = Schedule((Torch(torch.optim.SGD, lr=1e-5), Evaluations(6)), LBFGS())
    _, infos, _, objective = run(schedule, count=6)
    assert [info.stage for info in infos] == [0] * 6 and infos[-1].switched and objective.count == 6
    assert infos[0].learning_rate == 1e-5


def test_a_stalled_loss_ends_a_stage():
    # Gradient descent on x^2 shrinks the loss by 0.64 a step: by 2.4 in two, by 3.8 in three.
    class Bowl:
        def __init__(self, vector):
            self.value, self.gradient = (vector**2).sum(), 2 * vector

    for until, ends in ((Stalled(2, 2.5), 3), (Stalled(2, 2.4), None), (Stalled(3, 4.0), 4)):
        schedule = Schedule((Torch(torch.optim.SGD, lr=0.1), until), LBFGS())
        vector = torch.ones(1).double()
        state = schedule.init(vector)
        switched = None
        for number in range(1, 12):
            state, info = schedule.step(lambda v: Bowl(v), state)
            if info.switched:
                switched = number
                break
        assert switched == ends, until


def test_conditions_say_when_they_hold():
    assert not Steps(2).over(Progress(steps=1)) and Steps(2).over(Progress(steps=2))
    assert not Evaluations(2).over(Progress(evaluations=1)) and Evaluations(2).over(Progress(evaluations=3))
    assert not Stopped().over(Progress(steps=99, evaluations=99))
    assert repr(Schedule((LBFGS(), Stalled(5, 2.0)), LBFGS())).count("Stalled(steps=5, factor=2.0)") == 1


def test_many_evaluations_is_what_the_stages_say():
    adam = Torch(torch.optim.Adam, lr=1e-3)
    assert Schedule((adam, Steps(3)), LBFGS()).many_evaluations
    assert not Schedule((adam, Steps(3)), adam).many_evaluations


@pytest.mark.parametrize("split", [2, 5, 6, 8])
@pytest.mark.parametrize("until", [Steps(6), Evaluations(8), Stalled(3, 50.0)])
def test_a_restored_state_continues_to_the_last_bit(split, until):
    schedule = Schedule((LBFGS(history=3), until), LevenbergMarquardt())
    vector, _, state, _ = run(schedule, count=split)
    again = torch.zeros(len(vector)).double()
    other = schedule.from_arrays(state.to_arrays(), again)
    assert torch.equal(vector, again) and other.stage == state.stage
    objectives = Shared(), Shared()
    for _ in range(7):
        state, info = schedule.step(objectives[0], state)
        other, same = schedule.step(objectives[1], other)
        assert torch.equal(vector, again)
        assert (info.stage, info.switched, info.stopped) == (same.stage, same.switched, same.stopped)
        assert vars(state.progress) == vars(other.progress)


class Halving:
    """An optimizer whose state nobody can write down."""

    def init(self, vector):
        return SimpleNamespace(vector=vector)

    def step(self, objective, state):
        state.vector.mul_(0.5)
        return state, StepInfo()


def test_what_cannot_be_restored_is_refused():
    state = Schedule((Halving(), Steps(3)), LBFGS()).init(torch.ones(2).double())
    with pytest.raises(ValueError, match=r"stage 0: expected .* came SimpleNamespace: give it one, or take the check"):
        state.to_arrays()
    _, _, late, _ = run(Schedule((LBFGS(), Steps(2)), LBFGS()), count=4)
    with pytest.raises(ValueError, match="expected one of 1 stages, came stage 1: restore with the schedule"):
        Schedule(LBFGS()).from_arrays(late.to_arrays(), torch.zeros(20).double())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Schedule(), "at least one stage: Schedule"),
        (lambda: Schedule((LBFGS(), 200)), r"Evaluations, Stalled, Below, AnyOf or Stopped, came \(LBFGS"),
        (lambda: Schedule(200), "expected an optimizer, .* came 200"),
        (lambda: Steps(0), r"at least one step, came Steps\(count=0\)"),
        (lambda: Evaluations(0), r"at least one evaluation, came Evaluations\(count=0\)"),
        (lambda: Stalled(0, 2.0), "at least one step and a factor above 1"),
        (lambda: Stalled(3, 1.0), r"a factor above 1, came Stalled\(steps=3, factor=1.0\)"),
    ],
)
def test_bad_schedules_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_network_is_trained_by_both_stages():
    def loss(optimizer, count):
        torch.manual_seed(3)
        problem = poisson_1d()
        network, points = MLP(1, [8, 8]), problem.sample(interior=24, boundary=2)
        return train(problem, network, AutoDiff(), optimizer, points=points, steps=count, progress=False)

    both = loss(Schedule((LBFGS(), Steps(20)), LevenbergMarquardt()), 50)
    assert both.status == "complete" and both.loss < loss(LBFGS(), 50).loss / 10


def test_a_stage_that_stops_does_not_end_the_training():
    problem = poisson_1d()
    network, points = MLP(1, [6]), problem.sample(interior=16, boundary=2)
    schedule = Schedule(LBFGS(tolerance_gradient=1e3), LevenbergMarquardt())
    found = list(steps(problem, network, AutoDiff(), schedule, points=points, steps=5))
    assert len(found) == 6 and found[-1].status == "complete"
    assert found[1].loss == found[0].loss > found[2].loss
