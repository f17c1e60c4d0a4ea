"""What the DeepXDE callback takes from the data: names, points, residuals; measured as DeepXDE itself would."""

import numpy as np
import pytest
import torch

dde = pytest.importorskip("deepxde")

from dynamics import diagnose, open_trajectory  # noqa: E402
from solvers.cadence import Every  # noqa: E402
from solvers.callbacks.deepxde import TrajectoryCallback  # noqa: E402
from solvers.callbacks.deepxde.problem import points_of  # noqa: E402
from solvers.callbacks.deepxde.terms import term_names  # noqa: E402


@pytest.fixture(autouse=True)
def double():
    dde.config.set_default_float("float64")
    dde.config.set_random_seed(2)
    yield
    dde.config.set_default_float("float32")
    dde.config.set_default_autodiff("reverse")


SQUARE = dde.geometry.Rectangle([0, 0], [1, 1])


def network(outputs=1, inputs=2):
    return dde.nn.FNN([inputs, 6, 6, outputs], "tanh", "Glorot uniform")


def scalar(x, u):
    return dde.grad.hessian(u, x, i=0, j=0) + dde.grad.hessian(u, x, i=1, j=1) + u**2


def system(x, u):
    by_x, by_y = dde.grad.jacobian(u, x, i=0, j=0), dde.grad.jacobian(u, x, i=1, j=1)
    return [by_x + by_y, by_x * u[:, 1:] - dde.grad.hessian(u, x, component=1, i=0, j=1)]


def with_source(x, u, source):
    return dde.grad.jacobian(u, x, i=0, j=0) - source


def column(x, u):
    """Forward mode gives columns."""
    return dde.grad.jacobian(u, x, i=0, j=0)[0] + dde.grad.hessian(u, x, i=0, j=1)[0]


def model_of(equation, outputs=1, hard=False, count=40, **options):
    edge = dde.icbc.DirichletBC(SQUARE, lambda x: 0, lambda x, on: on)
    data = dde.data.PDE(SQUARE, equation, [] if hard else [edge], num_domain=count, num_boundary=8, **options)
    net = network(outputs)
    if hard:
        net.apply_feature_transform(lambda x: 2 * x - 1)
        net.apply_output_transform(lambda x, y: x[:, :1] * (1 - x[:, :1]) * y)
    return dde.Model(data, net)


KINDS = {
    "one equation": (lambda: model_of(scalar), "reverse"),
    "two equations": (lambda: model_of(system, outputs=2), "reverse"),
    "hard constraints": (lambda: model_of(scalar, hard=True), "reverse"),
    "auxiliary": (lambda: model_of(with_source, auxiliary_var_function=lambda x: np.sin(x[:, :1])), "reverse"),
    "forward mode": (lambda: model_of(column), "forward"),
}


def trained(model, path, iterations=3, **options):
    model.compile("adam", lr=1e-3, verbose=0)
    callback = TrajectoryCallback(path, strict=True, every=Every(1), blocks=4, **options)
    model.train(iterations=iterations, callbacks=[callback], verbose=0)
    with open_trajectory(path) as trajectory:
        return {name: group.to_dataset().load() for name, group in trajectory.children.items()}


def equations(model, graph=False):
    """DeepXDE's own residuals where it trains them: its loss function, given each one's values."""
    kept = []

    def keep(zeros, values):
        kept.append(values if graph else values.detach())
        return values.square().mean()

    data, net = model.data, model.net
    more = None if data.train_aux_vars is None else torch.as_tensor(data.train_aux_vars)
    net.auxiliary_vars = more
    inputs = torch.as_tensor(data.train_x).requires_grad_()
    data.losses(None, net(inputs), keep, inputs, model, aux=[net])
    dde.grad.clear()
    return torch.cat(kept[: len(kept) - len(data.bcs)], dim=1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_residual_is_that_of_deepxdes_loss(tmp_path, kind):
    make, mode = KINDS[kind]
    dde.config.set_default_autodiff(mode)
    model = make()
    found = trained(model, tmp_path / "run.h5")
    assert (found["points"].interior.values == model.data.train_x_all).all()
    own = equations(model).numpy()
    values = found["residuals"].residual.values
    np.testing.assert_allclose(values[-1], own[:, 0] if own.shape[1] == 1 else np.abs(own).sum(axis=1), rtol=1e-12)
    if own.shape[1] == 1:
        squares, losses = np.square(values).mean(axis=1), found["series"].loss_raw.values[:, 0]
        np.testing.assert_allclose(squares[:3], losses[:3], rtol=1e-12)
    assert found["residuals"].step.values.tolist() == [0, 1, 2, 3]
    assert np.isfinite(found["homogeneity"].cell_rms).all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_blocks_come_from_one_pass(tmp_path, kind):
    make, mode = KINDS[kind]
    dde.config.set_default_autodiff(mode)
    model = make()
    found = trained(model, tmp_path / "run.h5")
    assert found["gradients"].attrs["way"] == "stacked" and found["gradients"].attrs["blocks"] == 4
    # 48 points are 4 blocks of 12: the mean of their gradients is that of the mean square residual.
    weights = [parameter for name, parameter in model.net.named_parameters() if name.endswith("weight")]
    loss = equations(model, graph=True).square().sum() / len(model.data.train_x_all)
    whole = torch.autograd.grad(loss, weights)
    mean = found["gradients"].mean_norm_total.values[-1]
    assert mean == pytest.approx(sum(part.square().sum().item() for part in whole) ** 0.5, rel=1e-9)
    assert (found["gradients"].std_norm_total.values > 0).all()


def test_a_large_set_of_points_is_sampled_and_stays(tmp_path):
    model = model_of(scalar, count=2500)
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    sample = points_of(model.data).numpy()
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    assert len(sample) == 2000 == len(np.unique(sample, axis=0)) and (points_of(model.data).numpy() == sample).all()
    known = {tuple(row) for row in model.data.train_x_all}
    assert {tuple(row) for row in sample} <= known
    resampled = dde.callbacks.PDEPointResampler(period=1)
    model = model_of(scalar, train_distribution="pseudo")
    points = model.data.train_x_all.copy()
    model.compile("adam", lr=1e-3, verbose=0)
    model.train(iterations=3, callbacks=[resampled, TrajectoryCallback(tmp_path / "run.h5", strict=True)], verbose=0)
    assert not (model.data.train_x_all == points).all()
    with open_trajectory(tmp_path / "run.h5") as trajectory:
        assert (trajectory["points/interior"].values == points).all()


def test_the_sample_is_the_same_in_all_trainings(tmp_path):
    model = model_of(scalar)
    points = model.data.train_x_all.copy()
    callback = TrajectoryCallback(tmp_path / "run.h5", strict=True)
    for _ in range(2):
        model.compile("adam", lr=1e-3, verbose=0)
        model.train(iterations=2, callbacks=[callback], verbose=0)
        # As in residual-based refinement.
        model.data.add_anchors(np.array([[0.25, 0.75]]))
    with open_trajectory(tmp_path / "run.h5") as trajectory:
        assert trajectory["residuals/step"].values[-1] == 4
        assert (trajectory["points/interior"].values == points).all()
        last = trajectory["residuals/residual"].values[-1]
    found = model.predict(points, operator=scalar)[:, 0]
    np.testing.assert_allclose(last, found, rtol=1e-10)


def test_a_solution_gives_errors_where_no_metric_does(tmp_path):
    def exact(x):
        return np.sin(x[:, :1]) * x[:, 1:]

    model = model_of(scalar, solution=exact)
    found = trained(model, tmp_path / "run.h5")
    points = found["points"].interior.values
    error = model.predict(points) - exact(points)
    last = found["series"].isel(step=-1)
    assert last.rel_l2.item() == pytest.approx(np.linalg.norm(error) / np.linalg.norm(exact(points)), rel=1e-9)
    assert last.max_error.item() == pytest.approx(np.abs(error).max(), rel=1e-9)


def test_own_residuals_and_points_replace_those_of_the_data(tmp_path):
    rows = np.linspace(0, 1, 22).reshape(11, 2)
    model = model_of(scalar)
    found = trained(model, tmp_path / "run.h5", residuals=lambda net, x: 7 * net(x), points=rows)
    assert (found["points"].interior.values == rows).all()
    np.testing.assert_allclose(found["residuals"].residual.values[-1], 7 * model.predict(rows)[:, 0], rtol=1e-12)


@pytest.mark.parametrize("convert", [np.array, torch.as_tensor])
def test_points_that_change_later_are_measured_as_they_were(tmp_path, convert):
    rows = convert(np.linspace(0, 1, 22).reshape(11, 2))
    model, before = model_of(scalar), rows.tolist()
    callback = TrajectoryCallback(tmp_path / "run.h5", points=rows, strict=True)
    rows[:] = 0.5
    model.compile("adam", lr=1e-3, verbose=0)
    model.train(iterations=2, callbacks=[callback], verbose=0)
    with open_trajectory(tmp_path / "run.h5") as trajectory:
        assert trajectory["points/interior"].values.tolist() == before


def test_what_cannot_be_measured_is_left_out(tmp_path):
    def only_whole(x, u):
        if len(x) != 48 + 8:
            raise RuntimeError("no points but those of the training")
        return dde.grad.jacobian(u, x, i=0, j=0)

    model = model_of(only_whole)
    model.compile("adam", lr=1e-3, verbose=0)
    with pytest.warns(RuntimeWarning, match="no residuals are recorded: no points but those of the training"):
        model.train(iterations=4, callbacks=[TrajectoryCallback(tmp_path / "run.h5")], verbose=0)
    with open_trajectory(tmp_path / "run.h5") as trajectory:
        assert {"series", "parameters", "compression", "points"} <= set(trajectory.children)
        assert "residuals" not in trajectory.children


def integral():
    line = dde.geometry.TimeDomain(0, 1)

    def equation(x, u, matrix):
        integrals = torch.matmul(torch.as_tensor(matrix), u)
        return dde.grad.jacobian(u, x)[: len(integrals)] + integrals

    start = dde.icbc.IC(line, lambda x: 1, lambda x, on: on)
    exact = {"solution": lambda x: np.exp(-x), "num_test": 5}
    data = dde.data.IDE(line, equation, start, 3, lambda x, s: np.ones_like(s), num_domain=6, num_boundary=2, **exact)
    return dde.Model(data, network(inputs=1))


def fitted():
    line = dde.geometry.Interval(-1, 1)
    return dde.Model(dde.data.Function(line, lambda x: x**2, 10, 10), network(inputs=1))


def operator():
    rng = np.random.default_rng(0)
    branch, trunk = rng.random((4, 3)), rng.random((5, 1))
    values = branch.sum(axis=1, keepdims=True) * trunk.T
    data = dde.data.TripleCartesianProd((branch, trunk), values, (branch, trunk), values)
    return dde.Model(data, dde.nn.DeepONetCartesianProd([3, 6, 6], [1, 6, 6], "tanh", "Glorot normal"))


@pytest.mark.parametrize("make", [integral, fitted, operator])
def test_other_data_have_at_least_their_series(tmp_path, make):
    model = make()
    found = trained(model, tmp_path / "run.h5")
    history = model.losshistory.loss_train
    np.testing.assert_allclose(found["series"].loss_raw.values[0], history[0], rtol=1e-12)
    assert "residuals" not in found and len(found["parameters"].step) == 4
    named = {"integral": ["pde 1", "bc 1 IC"]}.get(make.__name__, ["loss 1"])
    assert found["series"].term.values.astype(str).tolist() == named


def test_names_follow_deepxdes_order():
    ends = dde.icbc.DirichletBC(SQUARE, lambda x: 0, lambda x, on: on)
    slope = dde.icbc.NeumannBC(SQUARE, lambda x: 0, lambda x, on: on)
    data = dde.data.PDE(SQUARE, system, [ends, slope], num_domain=4, num_boundary=4)
    assert term_names(data, 4) == ["pde 1", "pde 2", "bc 1 DirichletBC", "bc 2 NeumannBC"]


def test_a_healthy_run_has_no_problem_and_a_deaf_one_has(tmp_path):
    line = dde.geometry.Interval(0, 1)
    ends = dde.icbc.DirichletBC(line, lambda x: x, lambda x, on: on)

    def run(stiffness, weight, name):
        def equation(x, u):
            return stiffness * (dde.grad.hessian(u, x) + 20 * torch.sin(np.pi * x))

        dde.config.set_random_seed(1)
        data = dde.data.PDE(line, equation, ends, num_domain=24, num_boundary=2)
        model = dde.Model(data, dde.nn.FNN([1, 16, 16, 1], "tanh", "Glorot normal"))
        model.compile("adam", lr=5e-3, loss_weights=[1, weight], verbose=0)
        model.train(iterations=400, callbacks=[TrajectoryCallback(tmp_path / name)], verbose=0)
        with open_trajectory(tmp_path / name) as trajectory:
            return [f.name for f in diagnose(trajectory) if f.severity == "problem"]

    assert run(400.0, 1, "deaf.h5") == ["neglected_term"]
    assert run(1.0, 100, "healthy.h5") == []
