"""The DeepXDE callback on small versions of the package's own problems: a training with it is the training without."""

import io
import json
import random
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch

dde = pytest.importorskip("deepxde")

from dynamics import open_trajectory  # noqa: E402
from dynamics.validation import departures  # noqa: E402
from solvers.callbacks.deepxde import TrajectoryCallback  # noqa: E402

# NNCG itself makes a float of its loss.
pytestmark = pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True to a scalar:UserWarning")

LIMITS = dict(dde.optimizers.config.LBFGS_options)


@pytest.fixture(params=["float64"])
def precision(request):
    dde.config.set_default_float(request.param)
    yield request.param
    dde.config.set_default_float("float32")
    dde.config.autodiff = "reverse"
    dde.optimizers.config.LBFGS_options.update(LIMITS)


both = pytest.mark.parametrize("precision", ["float32", "float64"], indirect=True)


def limit(iterations, a_step):
    """DeepXDE takes the iterations of one step from its options of when it was imported."""
    dde.optimizers.set_LBFGS_options(maxiter=iterations)
    dde.optimizers.config.LBFGS_options.update(iter_per_step=a_step, fun_per_step=2 * a_step)


def poisson(**options):
    """-u'' = pi^2 sin(pi x) with zero at both ends."""
    geometry = dde.geometry.Interval(-1, 1)

    def equation(x, u):
        return -dde.grad.hessian(u, x) - np.pi**2 * torch.sin(np.pi * x)

    ends = dde.icbc.DirichletBC(geometry, lambda x: 0, lambda x, on: on)
    exact = {"solution": lambda x: np.sin(np.pi * x), "num_test": 20, **options}
    data = dde.data.PDE(geometry, equation, ends, num_domain=30, num_boundary=2, **exact)
    return dde.Model(data, dde.nn.FNN([1, 8, 8, 1], "tanh", "Glorot uniform"))


def burgers():
    """u_t + u u_x = nu u_xx, one initial and one boundary condition."""
    space = dde.geometry.GeometryXTime(dde.geometry.Interval(-1, 1), dde.geometry.TimeDomain(0, 1))

    def equation(x, u):
        by_x, by_t = dde.grad.jacobian(u, x, i=0, j=0), dde.grad.jacobian(u, x, i=0, j=1)
        return by_t + u * by_x - 0.01 / np.pi * dde.grad.hessian(u, x, i=0, j=0)

    edge = dde.icbc.DirichletBC(space, lambda x: 0, lambda x, on: on)
    start = dde.icbc.IC(space, lambda x: -np.sin(np.pi * x[:, :1]), lambda x, on: on)
    data = dde.data.TimePDE(space, equation, [edge, start], num_domain=60, num_boundary=10, num_initial=10)
    return dde.Model(data, dde.nn.FNN([2, 8, 8, 1], "tanh", "Glorot normal"))


def inverse():
    """Diffusion with an unknown coefficient, its solution given at some points; two equations, zero conditions."""
    space = dde.geometry.GeometryXTime(dde.geometry.Interval(0, 1), dde.geometry.TimeDomain(0, 1))
    unknown = dde.Variable(2.0)

    def exact(x):
        return np.exp(-x[:, 1:]) * np.sin(np.pi * x[:, :1])

    def equation(x, u):
        by_t, by_xx = dde.grad.jacobian(u, x, i=0, j=1), dde.grad.hessian(u, x, i=0, j=0)
        source = torch.exp(-x[:, 1:]) * (torch.sin(np.pi * x[:, :1]) * (1 - np.pi**2))
        return by_t - unknown * by_xx + source

    seen = space.random_points(12)
    observed = dde.icbc.PointSetBC(seen, exact(seen))
    data = dde.data.TimePDE(space, equation, [observed], num_domain=40, anchors=seen, solution=exact)
    return dde.Model(data, dde.nn.FNN([2, 8, 8, 1], "tanh", "Glorot normal")), unknown


def quiet(model, **options):
    return model.train(verbose=0, **options)


def states():
    return [random.getstate(), np.random.get_state()[1], torch.get_rng_state().numpy()]  # noqa: NPY002


def cached():
    from deepxde.gradients import gradients_reverse as reverse

    return len(reverse.jacobian._Jacobians.Js), len(reverse.hessian._Hessians.Hs)


def everything(model):
    """All that a training leaves."""
    history = model.losshistory
    parts = [history.steps, np.array(history.loss_train), np.array(history.loss_test), np.array(history.metrics_test)]
    best = [model.train_state.best_step, model.train_state.best_loss_train, model.train_state.step]
    return [*parts, *best, *(p.detach().numpy() for p in model.net.parameters()), *states(), cached()]


def phases(model, callbacks, variables=None):
    """Adam with a decaying rate, L-BFGS, Adam again with other weights."""
    compiled = {"metrics": ["l2 relative error"], "external_trainable_variables": variables, "verbose": 0}
    if model.data.soln is None:
        compiled.pop("metrics")
    model.compile("adam", lr=5e-3, decay=("step", 10, 0.5), loss_weights=[2.0, 50.0][: count(model)], **compiled)
    quiet(model, iterations=30, display_every=12, callbacks=callbacks)
    limit(12, 6)
    model.compile("L-BFGS", **compiled)
    quiet(model, callbacks=callbacks)
    model.compile("adam", lr=1e-3, **compiled)
    quiet(model, iterations=5, display_every=2, callbacks=callbacks)


def count(model):
    return 1 + len(model.data.bcs) if len(model.data.bcs) < 2 else 0


def trained(make, callbacks, seed=3):
    dde.config.set_random_seed(seed)
    made = make()
    model, *variables = made if isinstance(made, tuple) else (made,)
    if len(model.data.bcs) > 1:
        model.compile("adam", lr=5e-3, loss_weights=[1, 10, 20], verbose=0)
        quiet(model, iterations=30, callbacks=callbacks)
        limit(12, 6)
        model.compile("L-BFGS", verbose=0)
        quiet(model, callbacks=callbacks)
    else:
        phases(model, callbacks, variables or None)
    return everything(model) + [v.item() for v in variables], model


@both
@pytest.mark.parametrize("make", [poisson, burgers, inverse])
def test_no_number_of_the_training_changes(tmp_path, precision, make):
    resampler = [dde.callbacks.PDEPointResampler(period=10)] if make is burgers else []
    plain, _ = trained(make, resampler)
    callback = TrajectoryCallback(tmp_path / "run.h5", strict=True)
    found, model = trained(make, [dde.callbacks.PDEPointResampler(period=10)] * bool(resampler) + [callback])
    for one, other in zip(found, plain, strict=True):
        np.testing.assert_equal(one, other)
    assert departures(str(tmp_path / "run.h5")) == []
    left = {"losses_train", "_train_sgd", "_train_pytorch_lbfgs"}
    assert not left & {*vars(model), *vars(model.data)}
    assert not model.opt._optimizer_step_pre_hooks and not model.opt._optimizer_step_post_hooks
    assert not any(module._forward_hooks for module in model.net.modules())


def read(path, *names):
    with open_trajectory(path) as trajectory:
        return {name: trajectory[name].to_dataset().load() for name in names} | {"attrs": dict(trajectory.attrs)}


def test_rows_are_numbered_and_weighted_as_deepxde_does(tmp_path, precision):
    _, model = trained(poisson, [TrajectoryCallback(tmp_path / "run.h5", strict=True)])
    found = read(tmp_path / "run.h5", "series", "evaluations", "gradients", "points")
    series, history = found["series"], model.losshistory
    steps = series.step.values.tolist()
    adam = list(range(30))
    assert steps[:30] == adam and steps[30:33] == [30, 36, 42] and steps[-1] >= model.train_state.step
    assert series.term.values.astype(str).tolist() == ["pde 1", "bc 1 DirichletBC"]
    # DeepXDE's history holds weighted losses, at the steps that it shows; the first of each training is shown twice.
    weighted = {step: np.array(losses) for step, losses in zip(history.steps, history.loss_train, strict=True)}
    for step in (0, 12, 24):
        row = series.sel(step=step)
        np.testing.assert_allclose(row.loss_raw * [2.0, 50.0], weighted[step], rtol=1e-12)
        np.testing.assert_allclose(row.loss, weighted[step].sum(), rtol=1e-12)
        assert row.loss_weight.values.tolist() == [2.0, 50.0]
    np.testing.assert_allclose(series.sel(step=36).loss_raw, weighted[36], rtol=1e-12)
    assert series.sel(step=36).loss_weight.values.tolist() == [1.0, 1.0]
    assert series.learning_rate.values[[0, 9, 10, 20, 30, -2]].tolist() == [5e-3, 5e-3, 2.5e-3, 1.25e-3, 1.0, 1e-3]
    # The metric is taken over at the steps at which DeepXDE measured it, that of the state after the training too.
    metrics = {step: values[0] for step, values in zip(history.steps, history.metrics_test, strict=True)}
    for step in (0, 12, 24, 30, 36):
        assert series.sel(step=step).rel_l2.item() == metrics[step]
    assert series.rel_l2.values[-1] == history.metrics_test[-1][0]
    config = json.loads(found["attrs"]["config"])
    assert config["package"] == f"DeepXDE {dde.__version__}" and config["data"] == "PDE"
    assert [part.split("(")[0] for part in config["optimizer"].split(", then ")] == ["Adam", "LBFGS", "Adam"]
    assert found["attrs"]["seed"] == 3 and config["scheduler"] == "StepLR"


def test_every_evaluation_of_lbfgs_is_a_row(tmp_path, precision):
    dde.config.set_random_seed(0)
    model = burgers()
    limit(20, 7)
    model.compile("L-BFGS", loss_weights=[1, 2, 3], verbose=0)
    inner = model.data.losses_train
    model.data.losses_train = lambda *given, **named: inner(*given, **named)
    quiet(model, callbacks=[TrajectoryCallback(tmp_path / "run.h5", strict=True)])
    found = read(tmp_path / "run.h5", "series", "evaluations")
    rows = found["evaluations"]
    counted = model.opt.state_dict()["state"][0]["func_evals"]
    assert len(rows.evaluation) == counted > 20
    assert sorted(set(rows.step.values.tolist())) == [0, 7, 14]
    assert np.isfinite(rows.loss).all() and np.isfinite(rows.gradient_norm).all()
    assert found["series"].evaluations.values[-1] == counted
    assert found["series"].step.values.tolist() == [0, 7, 14, 21]
    # What the user had put there is there again.
    assert model.data.losses_train.__name__ == "<lambda>"


def test_each_long_step_of_lbfgs_is_measured(tmp_path, precision):
    dde.config.set_random_seed(0)
    model = poisson()
    # Not at the usual cadence, in whose even decades of steps 101 is none.
    limit(202, 101)
    model.compile("L-BFGS", verbose=0)
    quiet(model, callbacks=[TrajectoryCallback(tmp_path / "run.h5", strict=True)])
    assert read(tmp_path / "run.h5", "gradients")["gradients"].step.values.tolist() == [0, 101, 202]


@pytest.mark.parametrize("searches", [50, 0])
def test_the_last_row_is_what_deepxde_shows_last(tmp_path, precision, searches):
    dde.config.set_random_seed(0)
    model = poisson()
    limit(9, 9)
    dde.optimizers.config.LBFGS_options.update(maxls=searches)
    model.compile("L-BFGS", loss_weights=[2.0, 50.0], metrics=["l2 relative error"], verbose=0)
    quiet(model, callbacks=[TrajectoryCallback(tmp_path / "run.h5", strict=True)])
    last = read(tmp_path / "run.h5", "series")["series"].isel(step=-1)
    shown = model.losshistory.loss_train[-1]
    assert last.step == model.losshistory.steps[-1] == 9
    np.testing.assert_allclose(last.loss_raw * last.loss_weight, shown, rtol=1e-12)
    np.testing.assert_allclose(last.loss, shown.sum(), rtol=1e-12)


def test_nncg_evaluates_without_backward(tmp_path, precision):
    dde.config.set_random_seed(0)
    dde.optimizers.set_NNCG_options(rank=4, updatefreq=2, cgmaxiter=5)
    model = poisson()
    model.compile("NNCG", verbose=0)
    with redirect_stdout(io.StringIO()):
        quiet(model, iterations=3, callbacks=[TrajectoryCallback(tmp_path / "run.h5", strict=True)])
    found = read(tmp_path / "run.h5", "series", "evaluations")
    assert len(found["evaluations"].evaluation) > 3 and np.isnan(found["evaluations"].gradient_norm).all()
    assert np.isfinite(found["evaluations"].loss).all()
    assert found["series"].step.values[:3].tolist() == [0, 1, 2] and np.isfinite(found["series"].loss_raw[:3]).all()


def test_unknown_coefficients_are_those_of_the_variables(tmp_path, precision):
    dde.config.set_random_seed(1)
    model, unknown = inverse()

    class Watch(dde.callbacks.Callback):
        def on_batch_begin(self):
            seen.append((self.model.train_state.step, unknown.item()))

    seen = []
    callback = TrajectoryCallback(tmp_path / "run.h5", coefficients=["diffusivity"], strict=True)
    model.compile("adam", lr=1e-2, external_trainable_variables=unknown, verbose=0)
    quiet(model, iterations=20, callbacks=[callback, Watch()])
    limit(8, 4)
    model.compile("L-BFGS", external_trainable_variables=unknown, verbose=0)
    quiet(model, callbacks=[callback])
    with open_trajectory(tmp_path / "run.h5") as trajectory:
        rows = trajectory["coefficients"].to_dataset().load()
        rates = trajectory["series/group_learning_rate"].load()
    assert rows.coefficient.values.astype(str).tolist() == ["diffusivity"]
    assert list(zip(rows.step.values.tolist(), rows.value.values[:, 0].tolist(), strict=True))[:20] == seen
    assert rows.step.values.tolist()[20:22] == [20, 24] and rows.value.values[-1, 0] == unknown.item() != seen[-1][1]
    assert rates[0].values.tolist() == [1e-2, 1e-2] and np.isnan(rates[-1]).all()


def test_a_coefficient_after_lbfgs_costs_no_series(tmp_path, precision):
    dde.config.set_random_seed(1)
    model, unknown = inverse()
    callback = TrajectoryCallback(tmp_path / "run.h5", strict=True)
    limit(6, 3)
    model.compile("L-BFGS", external_trainable_variables=unknown, verbose=0)
    quiet(model, callbacks=[callback])
    model.compile("adam", lr=1e-2, external_trainable_variables=unknown, verbose=0)
    quiet(model, iterations=3, callbacks=[callback])
    found = read(tmp_path / "run.h5", "series", "coefficients")
    assert found["series"].group_learning_rate[-2].values.tolist() == [1e-2, 1e-2]
    assert found["coefficients"].coefficient.values.astype(str).tolist() == ["variable 1"]


def test_an_l1_penalty_is_a_term_of_its_own(tmp_path, precision):
    dde.config.set_random_seed(0)
    model = poisson()
    model.net.regularizer = ["l1", 1e-3]
    model.compile("adam", lr=1e-3, loss_weights=[1.0, 10.0], verbose=0)
    quiet(model, iterations=4, callbacks=[TrajectoryCallback(tmp_path / "run.h5", strict=True)])
    series = read(tmp_path / "run.h5", "series")["series"]
    assert series.term.values.astype(str).tolist()[-1] == "l1 regularization"
    np.testing.assert_allclose((series.loss_raw * series.loss_weight).sum("term")[:4], series.loss[:4], rtol=1e-12)
    assert series.loss_weight[0].values.tolist() == [1.0, 10.0, 1e-3]


def test_a_weight_of_zero_hides_no_loss(tmp_path, precision):
    dde.config.set_random_seed(0)
    model = poisson()
    model.compile("adam", lr=1e-3, loss_weights=[1.0, 0.0], verbose=0)
    quiet(model, iterations=4, callbacks=[TrajectoryCallback(tmp_path / "run.h5", names=["f", "g"], strict=True)])
    series = read(tmp_path / "run.h5", "series")["series"]
    assert series.term.values.astype(str).tolist() == ["f", "g"]
    assert (series.loss_raw[:4, 1] > 0).all() and (series.loss_weight[:4, 1] == 0).all()
