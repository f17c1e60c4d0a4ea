"""The lid-driven cavity's problems: residuals, conditions and operators, on the reference and on networks."""

import sys
from functools import cache

import numpy as np
import pytest
import torch

from solvers import MLP, AutoDiff, FiniteDifference, TangentProp
from solvers.compiled_residual import explain
from solvers.expressions.trace import Signature
from solvers.jet import Jet, single_partials
from solvers.objective import Objective
from solvers.points import Points
from solvers.problems.cavity import cavity, stream_cavity
from solvers.references.cavity_solve import solve_cavity

FORMULATIONS = {"cavity": cavity, "stream-cavity": stream_cavity}
ORDERS = [(i, j) for i in range(4) for j in range(4 - i)]

both = pytest.mark.parametrize("make", FORMULATIONS.values(), ids=FORMULATIONS)


@cache
def flow(degree=36):
    return solve_cavity(100.0, "regularised", degree)


def places(count=200, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).uniform(0.05, 0.95, (count, 2)))


def exact_jet(problem, x, of):
    """The partials that the problem reads, from those of a stream function and a pressure at the points."""
    values = {}
    for letters in single_partials(problem.partials, ("x", "y")):
        i, j = letters.count("x"), letters.count("y")
        p = of.pressure(*x.numpy().T, i, j) if i + j < 2 else np.zeros(len(x))
        stream = [(i, j)] if problem.name == "stream-cavity" else [(i, j + 1), (i + 1, j)]
        columns = [of.stream(*x.numpy().T, *order) for order in stream]
        if problem.name == "cavity":
            columns[1] = -columns[1]
        values[letters] = torch.from_numpy(np.stack([*columns, p], axis=1))
    return Jet(("x", "y"), values, (len(x), 0, 0))


class Polynomials(torch.nn.Module):
    """The reference in torch: sums of Legendre polynomials by their recurrence, stream function and pressure."""

    def __init__(self, of):
        super().__init__()
        self.coefficients = torch.from_numpy(np.stack([of.coefficients["stream"], of.coefficients["pressure"]]))

    def forward(self, x):
        table = [torch.ones_like(x), 2 * x - 1]
        for n in range(1, self.coefficients.shape[1] - 1):
            table.append(((2 * n + 1) * (2 * x - 1) * table[-1] - n * table[-2]) / (n + 1))
        table = torch.stack(table)
        return torch.einsum("cmn,mp,np->pc", self.coefficients, table[:, :, 0], table[:, :, 1])


@both
def test_the_reference_solves_the_equations_and_the_better_the_more_modes(make):
    problem, x = make(100.0, "regularised"), places()
    sizes = []
    for degree in (20, 28, 36):
        jet = exact_jet(problem, x, flow(degree))
        sizes.append(float(problem.residual(jet, x, {}).abs().max()))
    assert sizes[0] > 10 * sizes[1] > 100 * sizes[2]
    assert sizes[2] < 1e-5
    # Another Reynolds number has another solution.
    other = make(110.0, "regularised")
    assert float(other.residual(exact_jet(other, x, flow()), x, {}).abs().max()) > 1e-2


def test_the_operators_find_that_the_reference_solves_the_equations():
    problem, network = stream_cavity(100.0, "regularised"), Polynomials(flow())
    points = Points(places(40), axes=("x", "y"))
    exact = problem.residual(exact_jet(problem, points.interior, flow()), points.interior, {})
    for operator, slack in ((AutoDiff(), 1e-8), (FiniteDifference(order=4), 1e-3)):
        jet = operator.plan(points, problem.partials)(network)
        found = problem.residual(jet, points.interior, {})
        assert torch.allclose(found, exact, rtol=0, atol=slack)
        assert torch.allclose(
            problem.observed.of(jet), problem.observed.of(exact_jet(problem, points.interior, flow())), atol=1e-7
        )


@both
def test_the_operators_agree_on_a_network(make):
    problem = make()
    torch.manual_seed(0)
    network = MLP(2, [12, 12], problem.components).double()
    x = Points(places(30), axes=("x", "y"))
    expected = problem.residual(AutoDiff().plan(x, problem.partials)(network), x.interior, {})
    # An MLP's third derivatives by differences of order 2 and 4 are good to their round-off and truncation.
    for operator, slack in (
        (TangentProp(), 1e-12),
        (FiniteDifference(order=2), 2e-4),
        (FiniteDifference(order=4), 2e-6),
    ):
        found = problem.residual(operator.plan(x, problem.partials)(network), x.interior, {})
        assert torch.allclose(found, expected, rtol=0, atol=slack)
    assert expected.shape == (30, 3 if problem.name == "cavity" else 2)
    assert float(expected.detach().std()) > 0.1


@both
@pytest.mark.parametrize("lid", ["classical", "regularised", "parabolic"])
def test_conditions_hold_for_the_flow_and_for_no_other(make, lid):
    problem, of = make(100.0, lid), solve_cavity(100.0, lid, 20)
    points = problem.sample(interior=4, boundary=80)
    for condition in problem.conditions:
        rows = points.only(condition.where).boundary
        jet = exact_jet(problem, rows, of)
        assert float(condition.residual(jet, rows, None, {}).abs().max()) < 1e-9
        shaken = Jet(jet.axes, {key: 1.1 * value + 0.01 for key, value in jet.values.items()}, jet.counts)
        assert float(condition.residual(shaken, rows, None, {}).abs().max(dim=0).values.min()) > 5e-3


@both
def test_every_term_compiles(make):
    problem = make()
    names = single_partials(problem.partials, problem.axes)
    for condition in (None, *problem.conditions):
        used = names if condition is None else single_partials(condition.partials, problem.axes)

        def function(stack, x, scalars, condition=condition, used=used):
            jet = Jet(problem.axes, dict(zip(used, stack.unbind(), strict=True)), (stack.shape[1], 0, 0))
            return problem.residual(jet, x, {}) if condition is None else condition.residual(jet, x, None, {})

        signature = Signature(len(used), problem.components, 2, 0, torch.float64)
        compiled = explain(function, signature)
        stack, x = torch.randn(len(used), 9, problem.components, dtype=torch.float64), places(9)
        found = compiled.forward(stack, compiled.prepare(x), torch.empty(0, dtype=torch.float64))
        assert torch.allclose(found, function(stack, x, None), rtol=1e-12, atol=1e-12)


@both
def test_a_network_is_trained_on_it(make):
    problem = make(100.0, "regularised")
    torch.manual_seed(0)
    network = MLP(2, [8], problem.components).double()
    objective = Objective(problem, network, TangentProp(), problem.sample(interior=20, boundary=16))
    names = ["interior", "walls", "lid"]
    assert list(objective.terms) == names
    with pytest.raises(ValueError, match="expected values of shape"):
        Objective(problem, MLP(2, [8], 1).double(), AutoDiff(), problem.sample(interior=20, boundary=16))


def test_no_sampled_point_is_on_a_corner():
    for method in ("lhs", "grid"):
        rows = cavity().sample(interior=16, boundary=4000, method=method).boundary
        assert ((rows == 0) | (rows == 1)).sum(dim=1).max() == 1


def test_settings_tell_the_variants_apart():
    variants = [cavity(100), cavity(400), cavity(100, "parabolic"), cavity(100.5)]
    assert len({tuple(sorted(problem.settings.items())) for problem in variants}) == 4
    assert len({problem.reference.key for problem in variants}) == 4
    assert cavity(100).reference.key == stream_cavity(100.0).reference.key
    for problem in (*variants, stream_cavity()):
        assert len(problem.equation) <= 44
        assert problem.solution_floor == problem.reference.floor


def test_the_solution_is_the_velocity_of_what_is_kept(monkeypatch):
    made = flow()
    monkeypatch.setattr(sys.modules[cavity.__module__], "fetch", lambda recipe: made.coefficients)
    x = places(7)
    for make in FORMULATIONS.values():
        problem = make(100.0, "regularised")
        assert torch.equal(problem.solution(x), torch.from_numpy(made.velocity(*x.numpy().T)))
        assert torch.allclose(problem.observed.of(exact_jet(problem, x, made)), problem.solution(x), atol=1e-13)


@both
def test_what_cannot_be_certified_is_refused(make):
    with pytest.raises(ValueError, match="'regularised' moves with 16 x\\^2"):
        make(100, "regularized")
    for reynolds in (0.5, 3200, float("nan"), -100):
        with pytest.raises(ValueError, match=r"expected reynolds in \[1, 1000\]"):
            make(reynolds)
