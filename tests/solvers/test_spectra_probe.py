"""Spectra during training: against one backward pass a row and numpy's SVD, over steps, precisions and seeds."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dynamics import open_trajectory, validate
from solvers import MLP, AutoDiff, Every, FiniteDifference, TangentProp, Torch, problems, steps, train
from solvers.cadence import AtEnd, Logarithmic
from solvers.objective import Objective
from solvers.probes import Moment
from solvers.problems import Coefficient, Problem
from solvers.spectra_probe import Selection, evenly, jacobian_spectrum, spectrum_of

OPERATORS = {"nested": AutoDiff(), "central": FiniteDifference(step=1e-2), "taylor": TangentProp()}
ADAM = Torch(torch.optim.Adam, lr=1e-2)


def inverse_problem():
    base = problems.poisson_1d()
    return Problem(
        name="inverse",
        domain=base.domain,
        partials=("xx", ""),
        residual=lambda jet, x, c: torch.cat([c["k"] * jet["xx"] + x, c["k"] ** 2 * jet[""]], dim=1),
        conditions=(dataclasses.replace(base.conditions[0], weight=7.0),),
        coefficients=(Coefficient("k", 1.5),),
    )


PROBLEMS = {"helmholtz": lambda: problems.helmholtz((1, 2)), "inverse": inverse_problem}


def moment_of(problem=None, operator=None, interior=40, dtype=torch.float64, seed=3, widths=(6, 5)):
    torch.manual_seed(seed)
    problem = problem or problems.helmholtz((1, 2))
    points = problem.sample(interior=interior, boundary=8, seed=seed).to(dtype=dtype)
    objective = Objective(problem, MLP(len(problem.axes), list(widths)).to(dtype), operator or AutoDiff(), points)
    return Moment(0, objective, objective.begin_step(), torch.rand(interior, dtype=dtype))


def row_by_row(objective, index, conditions):
    """The slow twin: the gradient of each scaled residual, one backward pass each, from one point at a time."""
    leaves = [*objective.parameters.parameters, *objective.parameters.coefficients.values()]
    attention = objective.attention if objective.attention is not None else torch.ones(len(objective.points.interior))
    entries = []
    for i in index:
        plan = objective.operator.plan(objective.points.only("interior", torch.tensor([i])), objective.problem.partials)
        residual = objective.equation(plan, plan(objective.network))[0]
        entries += [attention[i] * component / len(index) ** 0.5 for component in residual]
    for term in objective.conditions if conditions else ():
        residual = term.residual(term.plan(objective.network), objective.parameters.coefficients)
        entries += list((residual * (term.condition.weight / len(residual)) ** 0.5).reshape(-1))
    rows = []
    for entry in entries:
        parts = torch.autograd.grad(entry, leaves, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([part.reshape(-1) for part in parts]).numpy())
    return np.array(rows)


@pytest.mark.parametrize("conditions", [False, True], ids=["interior", "all-terms"])
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
def test_the_spectrum_is_that_of_the_chosen_rows(operator, problem, conditions):
    moment = moment_of(problem(), operator, interior=23)
    objective = moment.objective
    objective.attention = torch.linspace(0.5, 2.0, 23).double()
    chosen = [1, 4, 8, 11, 14, 18, 21]
    expected = row_by_row(objective, chosen, conditions)
    matrix = Selection.of(objective, 7).matrix(moment.evaluation, conditions)
    # Sums of finite differences in another order differ by their round-off, eps / h^2.
    tolerance = 1e-12 if operator.exact else 1e-10
    assert matrix.shape == expected.shape
    assert np.abs(matrix.numpy() - expected).max() <= tolerance * np.abs(expected).max()
    found = jacobian_spectrum(rows=7, conditions=conditions).measure(moment)
    values = np.linalg.svd(expected, compute_uv=False)
    assert np.abs(found["singular_value"] - values).max() <= tolerance * values[0]
    assert found["seconds"] > 0


def test_blocks_of_points_are_one_matrix(monkeypatch):
    moment = moment_of(interior=40)
    whole = Selection.of(moment.objective, None).matrix(moment.evaluation)
    monkeypatch.setattr("solvers.spectra_probe.BLOCK", 7)
    parts = Selection.of(moment.objective, None).matrix(moment.evaluation)
    assert torch.allclose(parts, whole, rtol=1e-12, atol=1e-14)
    interior = moment.evaluation.jacobian[:40]
    assert torch.allclose(whole, interior, rtol=1e-12, atol=1e-14)


@given(total=st.integers(1, 3000), data=st.data())
def test_rows_are_spread_evenly(total, data):
    count = data.draw(st.integers(1, total))
    index = evenly(total, count)
    assert len(index) == count
    assert 0 <= int(index[0])
    assert int(index[-1]) < total
    gaps = index.diff()
    assert (gaps >= total // count).all()
    assert (gaps <= -(-total // count)).all()
    assert abs(int(index[0]) - (total - 1 - int(index[-1]))) <= 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_records_the_same_rows_at_every_step_and_all_rows_at_the_last(tmp_path, seed, dtype):
    problem, path = problems.poisson_1d(), tmp_path / "run.h5"
    points = problem.sample(interior=30, seed=seed).to(dtype=dtype)
    torch.manual_seed(seed)
    network = MLP(1, [6]).to(dtype)
    twin = MLP(1, [6]).to(dtype)
    twin.load_state_dict(network.state_dict())
    probes = [jacobian_spectrum(rows=8, every=Every(2))]
    with_steps = steps(problem, twin, AutoDiff(), ADAM, points=points, steps=5, dtype=dtype)
    train(problem, network, AutoDiff(), ADAM, points=points, steps=5, probes=probes, record=path, dtype=dtype)
    # `steps` yields after the update, so the state before step k is that after step k - 1.
    states = [[p.detach().clone().double() for p in twin.parameters()]]
    states += [[p.detach().clone().double() for p in twin.parameters()] for _ in with_steps]
    assert validate(path) == []
    with open_trajectory(path) as trajectory:
        few, all_rows = trajectory["spectra"], trajectory["spectra_all"]
        assert few["step"].values.tolist() == [0, 2, 4, 5]
        assert all_rows["step"].values.tolist() == [5]
        assert few["singular_value"].dtype == all_rows["singular_value"].dtype == np.float64
        assert (few.sizes["index"], all_rows.sizes["index"]) == (8, 19)
        exact = MLP(1, [6]).double()
        for step, row in zip([0, 2, 4, 5], few["singular_value"].values, strict=True):
            with torch.no_grad():
                for parameter, value in zip(exact.parameters(), states[step], strict=True):
                    parameter.copy_(value)
            objective = Objective(problem, exact, AutoDiff(), points.to(dtype=torch.float64))
            jacobian = objective(objective.vector).jacobian[:30].numpy()
            # Middles of eight equal parts of thirty points.
            rows = jacobian[[1, 5, 9, 13, 16, 20, 24, 28]] * (30 / 8) ** 0.5
            values = np.linalg.svd(rows, compute_uv=False)
            assert np.abs(row - values).max() <= 20 * torch.finfo(dtype).eps * values[0]
        values = np.linalg.svd(jacobian, compute_uv=False)
        found = all_rows["singular_value"].values[0]
        assert np.abs(found - values).max() <= 20 * torch.finfo(dtype).eps * values[0]
        assert (few["seconds"].values > 0).all()
        assert (few["floor"].values < 1e-13 * few["singular_value"].values[:, 0]).all()


def test_the_attributes_state_rows_columns_choice_and_cost(tmp_path):
    problem, path = problems.helmholtz((1, 1)), tmp_path / "run.h5"
    points = problem.sample(interior=50, boundary=8)
    probes = [jacobian_spectrum(rows=12, every=Every(1), conditions=True)]
    train(problem, MLP(2, [6]), TangentProp(), ADAM, points=points, steps=1, probes=probes, record=path)
    with open_trajectory(path) as trajectory:
        few, all_rows = trajectory["spectra"].attrs, trajectory["spectra_all"].attrs
    columns = 6 * 2 + 6 + 6 + 1
    assert (few["rows"], few["columns"], few["points"]) == (12 + 8, columns, 12)
    assert (all_rows["rows"], all_rows["columns"], all_rows["points"]) == (50 + 8, columns, 50)
    assert few["row_choice"] == "(2k + 1) * 50 // 24, k = 0 .. 11, of 50 interior points"
    assert all_rows["row_choice"] == "all 50 interior points"
    assert few["conditions"] == "included"
    assert (few["driver"], few["noise_points"], all_rows["noise_points"]) == ("gesdd", 12, 32)
    assert few["operations"] == pytest.approx(2 * 400 * (25 - 20 / 3) + 8 / 3 * 8000)
    assert few["matrix"] == "Jacobian of the scaled residuals"


def test_as_many_rows_as_points_or_more_are_all_of_them_and_said():
    moment = moment_of(interior=40)
    full = jacobian_spectrum(rows=None).measure(moment)["singular_value"]
    for rows in (40, 41, 5000):
        probe = jacobian_spectrum(rows=rows)
        assert np.array_equal(probe.measure(moment)["singular_value"], full)
        assert probe.beside(moment.objective) == []
    attrs = jacobian_spectrum(rows=5000).labels(moment).attrs
    assert attrs["row_choice"] == "all 40 interior points, 5000 were asked for"
    assert jacobian_spectrum(rows=40).labels(moment).attrs["row_choice"] == "all 40 interior points"


def test_the_spectrum_of_all_rows_comes_only_where_asked():
    objective = moment_of().objective
    assert jacobian_spectrum(rows=5, last=False).beside(objective) == []
    (beside,) = jacobian_spectrum(rows=5).beside(objective)
    assert (beside.stream, beside.every) == ("spectra_all", AtEnd())
    assert not any(beside.every.due(step) for step in range(100))


def test_defaults_are_256_rows_and_20_a_decade():
    probe = jacobian_spectrum()
    assert (probe.stream, probe.every) == ("spectra", Logarithmic(20))
    assert probe.measure(moment_of(interior=300, widths=(30, 30)))["singular_value"].shape == (256,)


def test_an_interrupted_run_keeps_its_spectra_and_has_none_of_all_rows(tmp_path):
    from dynamics import Recorder

    problem, path = problems.poisson_1d(), tmp_path / "run.h5"
    points = problem.sample(interior=20)
    with Recorder(path) as recorder:
        probes = [jacobian_spectrum(rows=5, every=Every(1))]
        for step in steps(
            problem, MLP(1, [6]), AutoDiff(), ADAM, points=points, steps=9, probes=probes, record=recorder
        ):
            if step.step == 2:
                break
    assert validate(path) == []
    with open_trajectory(path) as trajectory:
        assert trajectory["spectra"].sizes["step"] == 3
        assert trajectory["spectra_all"].sizes["step"] == 0


def test_one_probe_serves_one_run_after_another():
    probe = jacobian_spectrum(rows=6)
    probe.measure(moment_of(interior=40, seed=1))
    second = moment_of(interior=24, seed=2)
    expected = jacobian_spectrum(rows=6).measure(second)["singular_value"]
    assert np.array_equal(probe.measure(second)["singular_value"], expected)


@pytest.mark.parametrize("operator", [AutoDiff(), FiniteDifference(step=1e-1)], ids=["nested", "central"])
@pytest.mark.parametrize("seed", range(3))
def test_the_floor_of_the_entries_is_the_error_that_single_precision_makes(seed, operator):
    coarse = moment_of(operator=operator, interior=64, dtype=torch.float32, seed=seed, widths=(16, 16))
    points = coarse.objective.points.to(dtype=torch.float64)
    network = MLP(2, [16, 16]).double()
    with torch.no_grad():
        for parameter, value in zip(network.parameters(), coarse.objective.network.parameters(), strict=True):
            parameter.copy_(value.double())
    fine = Objective(problems.helmholtz((1, 2)), network, operator, points)
    fine_rows = Selection.of(fine, None).matrix(fine(fine.vector)).numpy()
    coarse_rows = Selection.of(coarse.objective, None).matrix(coarse.evaluation).double().numpy()
    error = np.linalg.norm(fine_rows - coarse_rows, 2)
    found = jacobian_spectrum(rows=None).measure(coarse)
    assert 0.2 * error <= found["entry_floor"] <= 5 * error
    exact = np.linalg.svd(fine_rows, compute_uv=False)
    assert np.abs(found["singular_value"] - exact).max() <= 5 * found["entry_floor"]
    assert found["floor"] < 1e-3 * found["entry_floor"]


def test_a_matrix_that_is_not_finite_is_recorded_as_nan():
    moment = moment_of(operator=FiniteDifference(step=1e-1))
    with torch.no_grad():
        moment.objective.vector.fill_(float("nan"))
    broken = dataclasses.replace(moment, evaluation=moment.objective(moment.objective.vector))
    found = jacobian_spectrum(rows=5).measure(broken)
    assert np.isnan(found["singular_value"]).all()
    assert np.isnan([found["floor"], found["entry_floor"]]).all()


def test_small_singular_values_are_those_of_the_matrix_and_not_of_its_square():
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal(shape))[0] for shape in ((40, 40), (90, 40)))
    values = 10.0 ** -np.linspace(0, 12, 40)
    for matrix in ((left * values) @ right.T, right @ (values[:, None] * left)):
        found, floor = spectrum_of(torch.from_numpy(matrix))
        assert np.abs(found - values).max() <= 1e-15
        assert 1e-16 < floor < 1e-14
    assert spectrum_of(torch.zeros(3, 2))[1] == 0.0


@pytest.mark.parametrize("rows", [0, -3, 2.5, True])
def test_rows_below_one_are_refused(rows):
    with pytest.raises(ValueError, match=rf"expected at least 1 row, or None for all of them, came {rows}"):
        jacobian_spectrum(rows=rows)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_device_gives_the_same_spectrum():
    moment = moment_of(interior=40)
    expected = jacobian_spectrum(rows=9).measure(moment)
    problem, points = moment.objective.problem, moment.objective.points.to("cuda")
    objective = Objective(problem, moment.objective.network.cuda(), AutoDiff(), points)
    probe = jacobian_spectrum(rows=9)
    on_device = Moment(0, objective, objective.begin_step(), moment.attention.cuda())
    found = probe.measure(on_device)
    assert np.abs(found["singular_value"] - expected["singular_value"]).max() <= 1e-13 * expected["singular_value"][0]
    assert probe.labels(on_device).attrs["driver"] == "cusolver gesvd"


@pytest.mark.parametrize("weight", [1e2, 1e6])
def test_the_floor_knows_the_rows_of_heavy_conditions(weight):
    """Single precision against double: no singular value moves by more than a few floors."""
    problem = problems.heat()
    heavy = tuple(dataclasses.replace(condition, weight=weight) for condition in problem.conditions)
    problem, points = dataclasses.replace(problem, conditions=heavy), problem.sample(interior=64)
    check_floor(problem, points, conditions=True)


@pytest.mark.parametrize(("quiet", "others"), [(1e-3, 1.0), (1.0, 1.0), (1.0, 30.0)])
def test_the_floor_knows_attention_that_the_measured_points_have_not(quiet, others):
    problem = problems.poisson_2d()
    attention = torch.full((256,), others)
    attention[evenly(256, 32)] = quiet
    check_floor(problem, problem.sample(interior=256), attention=attention)


def check_floor(problem, points, conditions=False, attention=None):
    torch.manual_seed(0)
    network = MLP(2, [12, 12]).float()
    matrices, floor = [], 0.0
    for dtype in (torch.float32, torch.float64):
        own = points.to("cpu", torch.float32).to("cpu", dtype)
        objective = Objective(problem, copy.deepcopy(network).to(dtype), AutoDiff(), own)
        objective.attention = None if attention is None else attention.to(dtype)
        evaluation, selection = objective.begin_step(), Selection.of(objective, None)
        matrices.append(selection.matrix(evaluation, conditions).double())
        floor = floor or selection.entry_floor(evaluation, conditions)
    noise = float(torch.linalg.matrix_norm(matrices[0] - matrices[1], 2))
    assert noise / 3 < floor < 10 * noise
