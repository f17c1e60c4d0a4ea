"""Mistakes that broadcasting, weights or a careless loop would hide: each must be refused or told."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from dynamics import Recorder, open_trajectory
from solvers import (
    MLP,
    RBFFD,
    AutoDiff,
    FiniteDifference,
    RandomFeatures,
    ResidualBasedAttention,
    Torch,
    TwoLayer,
    problems,
    solve_least_squares,
    steps,
    train,
)
from solvers.domain import Box
from solvers.points import Points
from solvers.problems.conditions import dirichlet
from solvers.problems.problem import Coefficient, Condition, Problem

SGD = Torch(torch.optim.SGD, lr=1e-3)


def heat_rod(strength=1.0, source=lambda x: torch.sin(x), boundary=0.0, **fields):
    """-strength u'' = source on (0, 1)."""

    def residual(jet, x, coefficients):
        return -strength * jet["xx"] - source(x)

    return Problem("rod", Box(("x",), (0.0,), (1.0,)), ("xx",), residual, (dirichlet(boundary),), **fields)


@pytest.mark.parametrize(
    ("problem", "network", "message"),
    [
        (heat_rod(source=lambda x: torch.sin(x[:, 0])), MLP(1, [4]), "residual of 'interior'.*x\\[:, 0:1\\]"),
        (heat_rod(boundary=lambda x: x[:, 0]), MLP(1, [4]), "residual of 'boundary'"),
        (heat_rod(), MLP(1, [4], 2), r"came \(3, 2\).*give it 1 outputs"),
        (heat_rod(components=2), MLP(1, [4], 1), "give it 2 outputs"),
    ],
)
def test_shapes_that_broadcasting_would_hide(problem, network, message):
    with pytest.raises(ValueError, match=message):
        steps(problem, network, AutoDiff(), SGD, steps=1)


def pair(boundary):
    """Two components on the same rod, to which `boundary(jet, x)` happens at the ends."""
    condition = Condition("ends", "boundary", ("",), lambda jet, x, normals, coefficients: boundary(jet, x))
    residual = lambda jet, x, coefficients: -jet["xx"]  # noqa: E731
    return Problem("pair", Box(("x",), (0.0,), (1.0,)), ("xx",), residual, (condition,), components=2)


def test_as_many_points_as_components_hide_nothing():
    steps(pair(lambda jet, x: jet[""] - x), MLP(1, [4], 2), AutoDiff(), SGD, steps=1)
    with pytest.raises(ValueError, match="mixes points"):
        steps(pair(lambda jet, x: jet[""] - x[:, 0]), MLP(1, [4], 2), AutoDiff(), SGD, steps=1)


def test_as_many_points_as_features_hide_nothing():
    with pytest.raises(ValueError, match="mixes points"):
        problem = heat_rod(source=lambda x: torch.sin(x[:, 0]))
        points = problem.sample(interior=20, method="grid")
        solve_least_squares(problem, RandomFeatures(1, 20), AutoDiff(), points=points)


def test_a_large_source_does_not_hide_that_the_equation_is_nonlinear():
    def residual(jet, x, coefficients):
        return -jet["xx"] + 1e-3 * jet[""] ** 3 - 1e9

    problem = Problem("bent", Box(("x",), (0.0,), (1.0,)), ("", "xx"), residual, (dirichlet(),))
    assert solve_least_squares(problem, RandomFeatures(1, 20), AutoDiff()).stopped != "linear"


@pytest.mark.parametrize("names", [("left", "left"), ("interior", "right")])
def test_conditions_need_names_of_their_own(names):
    ends = [dirichlet(name=name, where=f"x{side}") for name, side in zip(names, "-+", strict=True)]
    with pytest.raises(ValueError, match="names of their own"):
        Problem("rod", Box(("x",), (0.0,), (1.0,)), ("xx",), lambda jet, x, coefficients: jet["xx"], tuple(ends))


@pytest.mark.parametrize(("start", "low", "high"), [(5.0, 0.9, 1.1), (1.0, 2.0, 0.0)])
def test_a_coefficient_starts_within_its_bounds(start, low, high):
    with pytest.raises(ValueError, match="low <= start <= high"):
        Coefficient("k", start, low, high)


def test_points_of_single_precision_on_a_far_box_are_accepted():
    problem = heat_rod()
    far = dataclasses.replace(problem, domain=Box(("x",), (1000.0,), (1001.0,)))
    inner = Points([[1000.5]], [[np.nextafter(1001.0, 0.0)], [1000.0]])
    steps(far, MLP(1, [4]), AutoDiff(), SGD, points=inner, steps=1)
    circle = dataclasses.replace(problem, domain=Box(("x",), (0.0,), (math.pi,)))
    single = circle.sample(interior=3).to(dtype=torch.float32)
    steps(circle, MLP(1, [4]), AutoDiff(), SGD, points=single, steps=1)


def test_batch_statistics_are_no_obstacle():
    network = torch.nn.Sequential(
        torch.nn.Linear(1, 4), torch.nn.BatchNorm1d(4), torch.nn.Tanh(), torch.nn.Linear(4, 1)
    )
    run = train(problems.poisson_1d(), network, AutoDiff(), SGD, steps=2)
    assert network.training and math.isfinite(run.loss)


def test_a_solution_without_its_column_is_refused(tmp_path):
    problem = heat_rod(solution=lambda x: torch.sin(x[:, 0]))
    with pytest.raises(ValueError, match="expected a solution of shape"):
        train(problem, MLP(1, [4]), AutoDiff(), SGD, steps=1, record=tmp_path / "run.h5")
    assert not list(tmp_path.iterdir()), "nothing was recorded, so nothing is left"


def test_points_in_the_wrong_place_are_refused():
    with pytest.raises(ValueError, match="boundary points of rod lie inside"):
        steps(heat_rod(), MLP(1, [4]), AutoDiff(), SGD, points=Points([[0.5]], [[0.3]]), steps=1)
    burgers = problems.burgers()
    drawn = burgers.sample(interior=4)
    late = Points(drawn.interior, drawn.boundary, drawn.interior, None, drawn.normals, drawn.parts, axes=("x", "t"))
    with pytest.raises(ValueError, match="must have t = 0"):
        steps(burgers, MLP(2, [4]), AutoDiff(), SGD, points=late, steps=1)
    periodic = problems.allen_cahn()
    drawn = periodic.sample(interior=4)
    shuffled = {**drawn.parts, "x+": drawn.parts["x+"].flip(0)}
    torn = Points(drawn.interior, drawn.boundary, drawn.initial, None, drawn.normals, shuffled, axes=("x", "t"))
    with pytest.raises(ValueError, match="in pairs"):
        steps(periodic, MLP(2, [4]), AutoDiff(), SGD, points=torn, steps=1)


def test_the_matrix_does_not_know_the_source():
    """The operator's matrix is the same for every source: a large one must not leave round-off in its entries."""
    spectra = [
        solve_least_squares(problems.poisson_1d(mode), RandomFeatures(1, 60), AutoDiff()).singular_values
        for mode in (1, 250)
    ]
    assert torch.equal(*spectra)


@pytest.mark.parametrize("strength", [1e-3, 1.0, 1e3])
def test_the_floor_scales_with_the_equation(strength):
    features, operator = RandomFeatures(1, 100), FiniteDifference(step=1e-3)
    points = problems.poisson_1d().sample(interior=200, method="grid")
    points = Points(points.interior / 2 + 0.5, points.boundary / 2 + 0.5, normals=points.normals, parts=points.parts)
    solution = solve_least_squares(heat_rod(strength), features, operator, points=points)
    noise = float(solution.singular_values[50])
    assert noise < solution.floor < 100 * noise


def test_lbfgs_goes_on_under_attention():
    torch.manual_seed(0)
    lbfgs = Torch(torch.optim.LBFGS, line_search_fn="strong_wolfe")
    network = TwoLayer(1, 20)
    taken = list(steps(problems.poisson_1d(), network, AutoDiff(), lbfgs, steps=8, attention=ResidualBasedAttention()))
    assert taken[-1].step == 8 and taken[-1].info.stopped is None


def test_whoever_closes_the_file_it_says_how_the_run_ended(tmp_path):
    wild = Torch(torch.optim.SGD, lr=1e9)
    with Recorder(tmp_path / "wild.h5") as recorder:
        *_, last = steps(problems.poisson_1d(), MLP(1, [4]), AutoDiff(), wild, steps=30, record=recorder)
    assert last.status == "diverged"
    with Recorder(tmp_path / "left.h5") as recorder:
        for step in steps(problems.poisson_1d(), MLP(1, [4]), AutoDiff(), SGD, steps=30, record=recorder):
            if step.step == 5:
                break
    with Recorder(tmp_path / "held.h5") as recorder:
        held = steps(problems.poisson_1d(), MLP(1, [4]), AutoDiff(), SGD, steps=30, record=recorder)
        for _ in range(3):
            next(held)
    for name, status in (("wild", "diverged"), ("left", "interrupted"), ("held", "interrupted")):
        with open_trajectory(tmp_path / f"{name}.h5") as tree:
            assert tree.attrs["status"] == status
            assert "poisson-1d" in tree.attrs["config"] and tree.attrs["dtype"] == "float64"


def test_a_recorder_is_asked_for_by_name():
    with pytest.raises(ValueError, match="expected an open Recorder"):
        steps(problems.poisson_1d(), MLP(1, [4]), AutoDiff(), SGD, steps=1, record="run.h5")


def test_coefficients_stay_within_their_bounds_and_are_recorded(tmp_path):
    def residual(jet, x, coefficients):
        return coefficients["k"] * jet[""] - 3.0 * jet[""] + coefficients["k"] - 5.0

    problem = Problem("bounded", Box(("x",), (0.0,), (1.0,)), ("",), residual, (), (Coefficient("k", 1.0, 0.9, 1.1),))
    adam = Torch(torch.optim.Adam, lr=0.05)
    train(problem, MLP(1, [4]), AutoDiff(), adam, steps=40, record=tmp_path / "run.h5")
    with open_trajectory(tmp_path / "run.h5") as tree:
        k = tree["coefficients/value"].sel(coefficient="k").values
    assert k.shape == (41,) and k[0] == 1.0
    assert k.max() == pytest.approx(1.1) and np.all(k <= 1.1 + 1e-12)


class Plain(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = (torch.nn.Parameter(torch.ones(1, dtype=torch.float64)) for _ in range(2))

    def forward(self, x):
        return self.a * torch.sin(self.b * x)


def test_any_module_is_recorded_and_few_points_are_no_obstacle(tmp_path):
    points = problems.poisson_1d().sample(interior=3, method="grid")
    run = train(problems.poisson_1d(), Plain(), AutoDiff(), SGD, points=points, steps=3, record=tmp_path / "run.h5")
    assert math.isfinite(run.loss)
    with open_trajectory(tmp_path / "run.h5") as tree:
        assert tree["gradients"].attrs["blocks"] == 3
        assert list(tree["gradients"]["layer"].values) == ["a", "b"]
    with pytest.raises(ValueError, match="RandomFeatures"):
        solve_least_squares(problems.poisson_1d(), Plain(), AutoDiff())


@pytest.mark.parametrize("rcond", [-1.0, 1.0, float("nan")])
def test_a_cut_out_of_range_is_refused(rcond):
    with pytest.raises(ValueError, match="rcond"):
        solve_least_squares(problems.poisson_1d(), RandomFeatures(1, 5), AutoDiff(), rcond=rcond)


def test_a_scheduler_that_waits_for_a_metric_is_refused():
    plateau = Torch(torch.optim.SGD, scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau, lr=1e-3)
    with pytest.raises(ValueError, match="StepLR"):
        list(steps(problems.poisson_1d(), MLP(1, [4]), AutoDiff(), plateau, steps=1))


def test_round_off_of_differences_is_no_sign_of_mixed_points():
    """At h = 1e-2 in single precision a second difference of large values differs with the place in its batch."""
    for seed in (18, 25):
        torch.manual_seed(seed)
        network = TwoLayer(1, 50, scale=3.0)
        with torch.no_grad():
            network[2].weight.mul_(20)
        operator = FiniteDifference(1e-2)
        run = train(problems.poisson_1d(), network, operator, SGD, steps=1, dtype=torch.float32, progress=False)
        assert run.step == 1


def test_a_network_that_mixes_points_is_refused():
    class Centred(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) - torch.arange(len(x))[:, None]

    with pytest.raises(ValueError, match="Centred mixes points"):
        train(problems.poisson_1d(), Centred(1, 1), AutoDiff(), SGD, steps=1, progress=False)


def test_a_network_of_other_inputs_is_told_how_many():
    with pytest.raises(ValueError, match=r"MLP does not take points of heat, .*axes x, t: .*Give it 2 inputs"):
        train(problems.heat(), MLP(1, [4]), AutoDiff(), SGD, steps=1)


def test_stencils_are_given_nodes_where_no_points_are_given():
    network = MLP(2, [4])
    seen = []
    for step in steps(problems.poisson_2d(), network, RBFFD(2), SGD, steps=1, probes=lambda o: seen.append(o) or ()):
        assert math.isfinite(step.loss)
    assert len(seen[0].points.ghost) == len(seen[0].points.boundary) > 0


@pytest.mark.parametrize(
    ("problem", "operator", "error"),
    [(problems.poisson_2d(), RBFFD(6), 1e-4), (problems.disk_poisson(), AutoDiff(), 1e-6)],
    ids=["stencils", "a disk"],
)
def test_least_squares_takes_nodes_where_a_grid_does_not_do(problem, operator, error):
    assert solve_least_squares(problem, RandomFeatures(2, 200), operator).rel_l2 < error
