"""What the loop itself knows: unknown coefficients that it trains, the exact solution, errors that it computes."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from dynamics import Recorder, diagnose, open_trajectory
from dynamics.coefficients import known_coefficients
from solvers.attaching.attach import attach
from solvers.attaching.known_errors import KnownErrors
from solvers.cadence import Every

X = torch.linspace(0, 1, 20, dtype=torch.float64)[:, None]


def network():
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 2)).double()


def number(value):
    return nn.Parameter(torch.tensor(value, dtype=torch.float64))


def loss_of(model, nu=1.0):
    return (model(X)[:, :1] - nu * X.exp()).square().mean() + 0.1 * (nu - 2.0) ** 2


def loop(path, steps=4, model=None, optimizer=None, nu=None, spoil=lambda step: None, config=None, **options):
    model = model or network()
    moved = [*model.parameters(), *([] if nu is None else [nu])]
    optimizer = optimizer or torch.optim.Adam(moved, lr=1e-2)
    kept = []
    with Recorder(path, config=config) as recorder, attach(recorder, optimizer, model, **options) as watched:
        for step in range(steps):
            spoil(step)
            optimizer.zero_grad()
            loss = loss_of(model, 1.0 if nu is None else nu)
            loss.backward()
            watched.terms(loss=loss)
            kept.append((nu.item() if nu is not None else 0.0, model(X)[:, 0].detach().numpy()))
            optimizer.step()
    kept.append((nu.item() if nu is not None else 0.0, model(X)[:, 0].detach().numpy()))
    return model, kept


def test_coefficients_have_a_row_a_step_and_one_at_the_end(tmp_path):
    nu = number(0.5)
    told = {"problem": {"coefficients": {"nu": {"low": 0.0, "high": 4.0, "exact": 2.0}}}}
    _, kept = loop(tmp_path / "run.h5", nu=nu, coefficients={"nu": nu}, config=told)
    with open_trajectory(tmp_path / "run.h5") as found:
        (one,) = known_coefficients(found)
        assert one.name == "nu" and one.step.tolist() == [0, 1, 2, 3, 4]
        assert one.value.tolist() == [value for value, _ in kept] and len(set(one.value)) == 5
        assert (one.low, one.high, one.exact) == (0.0, 4.0, 2.0)
        assert '"nu"' in found["parameters"].attrs["names"] and "external" not in found["parameters"].attrs["names"]


def test_diagnose_sees_a_coefficient_that_drifts(tmp_path):
    nu = number(0.5)
    loop(tmp_path / "run.h5", steps=150, nu=nu, coefficients={"nu": nu})
    with open_trajectory(tmp_path / "run.h5") as found:
        (drifting,) = [each for each in diagnose(found) if each.name == "coefficient_drifting"]
        assert drifting.evidence["moving"][0]["coefficient"] == "nu"


def test_coefficients_under_a_closure_are_those_of_the_steps_beginning(tmp_path):
    model, nu = network(), number(0.5)
    lbfgs = torch.optim.LBFGS([*model.parameters(), nu], max_iter=5)
    starts = []

    def closure():
        lbfgs.zero_grad()
        loss = loss_of(model, nu)
        loss.backward()
        return loss

    with Recorder(tmp_path / "run.h5") as recorder, attach(recorder, lbfgs, model, coefficients={"nu": nu}):
        for _ in range(2):
            starts.append(nu.item())
            lbfgs.step(closure)
    with open_trajectory(tmp_path / "run.h5") as found:
        assert found["coefficients/value"].values[:, 0].tolist() == [*starts, nu.item()]


def test_two_optimizers_tell_the_same_coefficients(tmp_path):
    """The second one long after the layout of the file is fixed."""
    model, nu, mu = network(), number(0.5), number(1.0)
    adam, second = (make([*model.parameters(), nu, mu]) for make in (torch.optim.Adam, torch.optim.SGD))
    named = {"nu": nu, "mu": mu}
    with Recorder(tmp_path / "run.h5", commit_every=0.0) as recorder:
        for optimizer in (adam, second):
            with attach(recorder, optimizer, model, coefficients=named) as watched:
                for _ in range(3):

                    def closure(optimizer=optimizer):
                        optimizer.zero_grad()
                        loss = loss_of(model, nu) + (mu - 3) ** 2
                        loss.backward()
                        return loss

                    optimizer.step(closure)
        assert watched.step == 8
        with pytest.raises(ValueError, match="expected the coefficients nu, mu, came mu, nu: name the same ones"):
            attach(recorder, adam, model, coefficients={"mu": mu, "nu": nu})
        with pytest.raises(ValueError, match="expected the coefficients nu, mu, came none"):
            attach(recorder, adam, model, coefficients={})
        assert not adam._optimizer_step_pre_hooks
    with open_trajectory(tmp_path / "run.h5") as found:
        assert found["coefficients"]["step"].values.tolist() == list(range(8))
        assert found["coefficients"]["coefficient"].values.tolist() == ["nu", "mu"]
        assert np.isfinite(found["coefficients/value"]).all()


def test_an_optimizer_of_the_coefficients_alone(tmp_path):
    model, nu = network(), number(0.5)
    own = torch.optim.SGD([nu], lr=0.1)
    _, kept = loop(
        tmp_path / "run.h5", model=model, optimizer=own, nu=nu, coefficients={"nu": nu}, points=X, blocks=2,
        residuals=lambda model, x: model(x) - x,
    )  # fmt: skip
    with open_trajectory(tmp_path / "run.h5") as found:
        assert found["coefficients/value"].values[:, 0].tolist() == [value for value, _ in kept]
        assert found["parameters"].attrs["names"] == '["nu"]' and "gradients" not in found
        assert "residuals" in found


def test_a_coefficient_that_the_model_owns(tmp_path):
    model = network()
    model.nu = number(0.5)
    with Recorder(tmp_path / "run.h5") as recorder:
        adam = torch.optim.Adam(model.parameters())
        with attach(recorder, adam, model, coefficients={"diffusivity": model.nu}) as watched:
            loss_of(model, model.nu).backward()
            watched.terms(loss=1.0)
            adam.step()
    with open_trajectory(tmp_path / "run.h5") as found:
        assert found["coefficients"]["coefficient"].values.tolist() == ["diffusivity"]
        assert '"nu"' in found["parameters"].attrs["names"]


@pytest.mark.parametrize(
    ("tensor", "match"),
    [
        (0.5, "'nu' as a real tensor of one number, came 0.5: pass the trained tensor itself"),
        (nn.Parameter(torch.ones(2)), r"of one number, came shape \(2,\): .*one name an entry"),
        (nn.Parameter(torch.ones(1)), "'nu' that the optimizer moves, .*optimizer.add_param_group"),
        (number(0.5).exp(), "not what is computed from it"),
    ],
)
def test_bad_coefficients_are_refused(tmp_path, tensor, match):
    with pytest.raises(ValueError, match=match):
        loop(tmp_path / "run.h5", coefficients={"nu": tensor})


@pytest.mark.parametrize("given", [lambda x: torch.exp(x), X.exp(), X.exp().flatten(), torch.cat([X.exp(), X], dim=1)])
def test_the_errors_are_those_against_the_solution(tmp_path, given):
    _, kept = loop(tmp_path / "run.h5", points=X, solution=given, every={"field": Every(2)})
    exact = np.exp(X.numpy()[:, 0])
    with open_trajectory(tmp_path / "run.h5") as found:
        series = found["series"].to_dataset().load()
    assert series.step.values.tolist() == [0, 1, 2, 3, 4]
    for row in range(5):
        error = kept[row][1] - exact
        known = [np.linalg.norm(error) / np.linalg.norm(exact), np.abs(error).max()] if row != 1 and row != 3 else None
        told = [series.rel_l2.values[row], series.max_error.values[row]]
        assert np.isnan(told).all() if known is None else np.allclose(told, known, rtol=1e-13)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"solution": torch.ones(19)}, r"shape \(20,\) or \(20, outputs\), came shape \(19,\): pass a function"),
        ({"solution": 3.0}, "came float: pass a function of the points"),
        ({"solution": lambda x: x.numpy()}, "came ndarray"),
        ({"solution": lambda x: 1 / x}, "expected finite values of the solution, came others: leave out the points"),
        ({"solution": X, "points": None}, "expected points for the solution, came none"),
        ({"solution": X, "errors": dict}, "came both: pass solution= alone"),
        ({"errors": {"rel_l2": 1.0}}, "expected errors as a function, came dict: write errors=lambda: latest"),
    ],
)
def test_bad_solutions_are_refused(tmp_path, options, match):
    with pytest.raises(ValueError, match=match):
        loop(tmp_path / "run.h5", **{"points": X, **options})


def test_a_model_without_a_tensor_has_no_errors(tmp_path):
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, x):
            return self.inner(x), None

    with pytest.raises(ValueError, match="came Pair that does not: leave solution= out, and pass errors="):
        loop(tmp_path / "run.h5", model=Pair(), points=X, solution=X)


def test_errors_are_taken_where_they_are_new(tmp_path):
    latest = {}

    def tell(step):
        if step == 2:
            latest["rel_l2"] = 0.5
        if step == 4:
            latest.update(rel_l2=0.5, max_error=math.nan)
        if step == 5:
            latest.update(rel_l2=number(0.25) ** 1, max_error=np.float32(2.0))

    def errors():
        return latest or None

    loop(tmp_path / "run.h5", steps=7, spoil=tell, errors=errors, points=X, every=Every(1))
    with open_trajectory(tmp_path / "run.h5") as found:
        series = found["series"].to_dataset().load()
    # A test is made between two steps: the row of the next one is about the same parameters.
    assert {step: value for step, value in enumerate(series.rel_l2.values) if value == value} == {2: 0.5, 5: 0.25}
    assert {step: value for step, value in enumerate(series.max_error.values) if value == value} == {5: 2.0}
    assert np.isfinite(series.loss).all() and len(series.loss) == 7


def test_an_error_after_the_last_step_has_a_row(tmp_path):
    latest = {"rel_l2": 0.5}
    model = network()
    adam = torch.optim.Adam(model.parameters())
    with Recorder(tmp_path / "run.h5") as recorder, attach(recorder, adam, model, errors=lambda: latest) as watched:
        loss_of(model).backward()
        watched.terms(loss=1.0)
        adam.step()
        latest["rel_l2"] = 0.125
    with open_trajectory(tmp_path / "run.h5") as found:
        assert found["series/rel_l2"].values.tolist() == [0.5, 0.125]
        assert found["series"]["step"].values.tolist() == [0, 1]
        assert b"complete" in found["status"].values.tobytes()
        # The last row has no loss, which is no divergence.
        assert not [each for each in diagnose(found) if each.name == "diverged"]


def test_an_error_that_is_no_number_is_none():
    latest = {"rel_l2": 0.5, "max_error": None}
    known = KnownErrors(lambda: latest)
    assert known.new() == {"rel_l2": 0.5}
    latest["rel_l2"] = math.nan
    assert known.new() == known.new() == {}
    latest.update(rel_l2=0.5, max_error=math.inf)
    assert known.new() == {"max_error": math.inf}


def test_errors_of_another_name_are_said_once(tmp_path):
    with pytest.warns(RuntimeWarning, match="the errors are not recorded .*rel_l2 or max_error, came 'mse'") as said:
        loop(tmp_path / "run.h5", errors=lambda: {"mse": 1.0})
    assert len(said) == 1
    with open_trajectory(tmp_path / "run.h5") as found:
        assert len(found["series/loss"]) == 4
