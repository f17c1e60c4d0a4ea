"""PINA's solvers on small problems of its tutorials' kind, as our callback records them."""

import copy
import pickle
import random
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import StepLR

from dynamics import detect_phases, diagnose, open_trajectory

pytest.importorskip("pina")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*You defined a `validation_step` but have no:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:Importing '.*' from 'pina:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*litlogger.*"),
]

from lightning.pytorch.callbacks import Callback  # noqa: E402
from pina import Condition, LabelTensor, Trainer  # noqa: E402
from pina.callback import R3Refinement, SwitchOptimizer  # noqa: E402
from pina.domain import CartesianDomain  # noqa: E402
from pina.equation import Equation, SystemEquation  # noqa: E402
from pina.equation.zoo import FixedValue  # noqa: E402
from pina.operator import grad, laplacian  # noqa: E402
from pina.optim import TorchOptimizer, TorchScheduler  # noqa: E402
from pina.problem import BaseProblem, InverseProblem, SpatialProblem, TimeDependentProblem  # noqa: E402
from pina.solver import (  # noqa: E402
    CausalPhysicsInformedSingleModelSolver,
    CompetitivePhysicsInformedSolver,
    GradientPhysicsInformedSingleModelSolver,
    PhysicsInformedEnsembleSolver,
    PhysicsInformedSingleModelSolver,
    RBAPhysicsInformedSingleModelSolver,
    SelfAdaptivePhysicsInformedSolver,
    SupervisedSingleModelSolver,
)
from pina.weighting import NeuralTangentKernelWeighting, ScalarWeighting, SelfAdaptiveWeighting  # noqa: E402

from solvers.callbacks.lightning import TrajectoryCallback  # noqa: E402

PINN = PhysicsInformedSingleModelSolver


def bump(points):
    return torch.sin(torch.pi * points["x"]) * torch.sin(torch.pi * points["y"])


SQUARE = CartesianDomain({"x": [0, 1], "y": [0, 1]})


class Membrane(SpatialProblem):
    """-(u_xx + u_yy) = 2 pi^2 sin(pi x) sin(pi y) on the unit square."""

    output_variables = ["u"]  # noqa: RUF012
    conditions = None
    spatial_domain = SQUARE

    def __init__(self, equation=None):
        inside = equation or Equation(lambda points, u: laplacian(u, points) + 2 * torch.pi**2 * bump(points))
        self.domains = {"edge": SQUARE.partial(), "inside": SQUARE}
        self.conditions = {
            "edge": Condition(domain="edge", equation=FixedValue(0.0)),
            "inside": Condition(domain="inside", equation=inside),
        }
        super().__init__()

    def solution(self, points):
        return bump(points)


class Cooling(TimeDependentProblem, SpatialProblem):
    """u_t = u_xx / 10 on [0, 1]."""

    output_variables = ["u"]  # noqa: RUF012
    conditions = None
    spatial_domain = CartesianDomain({"x": [0, 1]})
    temporal_domain = CartesianDomain({"t": [0, 1]})

    def __init__(self):
        whole, start = CartesianDomain({"x": [0, 1], "t": [0, 1]}), CartesianDomain({"x": [0, 1], "t": 0.0})
        self.domains = {"start": start, "heat": whole}
        heat = Equation(lambda p, u: grad(u, p, d=["t"]) - laplacian(u, p, d=["x"]) / 10)
        self.conditions = {
            "start": Condition(domain="start", equation=Equation(lambda p, u: u - torch.sin(torch.pi * p["x"]))),
            "heat": Condition(domain="heat", equation=heat),
        }
        super().__init__()


class Rate(SpatialProblem, InverseProblem):
    """u' = -k u, with u known at some points and k unknown."""

    output_variables = ["u"]  # noqa: RUF012
    conditions = None
    spatial_domain = CartesianDomain({"x": [0, 1]})
    unknown_parameter_domain = CartesianDomain({"k": [1.0, 3.0]})

    def __init__(self):
        rows = LabelTensor(torch.linspace(0, 1, 20)[:, None], ["x"])
        target = LabelTensor(torch.exp(-2 * rows.as_subclass(torch.Tensor)), ["u"])
        self.domains = {"ode": self.spatial_domain}
        decay = Equation(lambda x, u, unknown: grad(u, x) + unknown["k"] * u)
        self.conditions = {
            "data": Condition(input=rows, target=target),
            "ode": Condition(domain="ode", equation=decay),
        }
        super().__init__()


class Data(BaseProblem):
    """Values at points, without any equation."""

    input_variables = ["x"]  # noqa: RUF012
    output_variables = ["u"]  # noqa: RUF012
    conditions = None

    def __init__(self):
        rows = torch.linspace(0, 1, 20)[:, None]
        self.conditions = {"data": Condition(input=rows, target=rows**2)}
        super().__init__()


class Labels(nn.Module):
    """A network that vanishes on the edge, which reads its inputs by their labels."""

    def __init__(self):
        super().__init__()
        self.net = network(2)

    def forward(self, x):
        inside = x.extract(["x"]) * (1 - x.extract(["x"])) * x.extract(["y"]) * (1 - x.extract(["y"]))
        return self.net(x.as_subclass(torch.Tensor)) * inside.as_subclass(torch.Tensor)


def network(inputs, width=8):
    sizes = [inputs, width, width]
    hidden = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*hidden, nn.Linear(width, 1))


def solved(solver, problem, *callbacks, net=None, epochs=8, count=60, then=(), **options):
    """Train, everything drawn anew from one seed; return solver and trainer."""
    random.seed(0)
    torch.manual_seed(0)
    made = problem()
    for domain in getattr(made, "domains", {}):
        made.discretise_domain(count, "random", domains=[domain])
    trainer_options = {name: options.pop(name) for name in ("batch_size", "val_size", "train_size") if name in options}
    net = net or network(len(made.input_variables))
    torch.manual_seed(1)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5)
    built = solver(made, [net, copy.deepcopy(net)] if solver is PhysicsInformedEnsembleSolver else net, **options)
    trainer = Trainer(
        built,
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*callbacks, *then],
        **trainer_options,
    )
    trainer.train()
    return built


def bits(solver):
    found = [p.detach().flatten() for p in solver.parameters()]
    found += [b.detach().flatten() for b in solver.buffers()]
    found += [p.detach().flatten() for p in (solver._params or {}).values()]
    return torch.cat(found)


def read(path):
    with open_trajectory(path) as trajectory:
        names = [name for name in trajectory.children if name != "late"]
        return {name: trajectory[name].to_dataset().load() for name in names} | {"attrs": dict(trajectory.attrs)}


def adam(**options):
    return TorchOptimizer(torch.optim.Adam, lr=1e-2, **options)


def lbfgs():
    return TorchOptimizer(torch.optim.LBFGS, lr=0.5, max_iter=4)


CASES = {
    "pinn": (PINN, Membrane, {"optimizer": adam(), "scheduler": TorchScheduler(StepLR, step_size=2)}),
    "lbfgs": (PINN, Membrane, {"optimizer": lbfgs()}),
    "weights": (PINN, Membrane, {"weighting": ScalarWeighting({"edge": 50.0})}),
    "ntk": (PINN, Membrane, {"weighting": NeuralTangentKernelWeighting()}),
    "balanced": (PINN, Membrane, {"weighting": SelfAdaptiveWeighting(3)}),
    "batches": (PINN, Membrane, {"batch_size": 20}),
    "gradient": (GradientPhysicsInformedSingleModelSolver, Membrane, {"regularized_conditions": "inside"}),
    "rba": (RBAPhysicsInformedSingleModelSolver, Membrane, {}),
    "adaptive": (SelfAdaptivePhysicsInformedSolver, Membrane, {}),
    "competitive": (CompetitivePhysicsInformedSolver, Membrane, {}),
    "ensemble": (PhysicsInformedEnsembleSolver, Membrane, {}),
    "causal": (CausalPhysicsInformedSingleModelSolver, Cooling, {"regularized_conditions": "heat", "n_steps": 3}),
    "inverse": (PINN, Rate, {}),
    "data": (SupervisedSingleModelSolver, Data, {"use_lt": False}),
}


@pytest.mark.parametrize("name", list(CASES))
def test_no_number_changes_and_terms_add_up_to_the_loss(tmp_path, name):
    solver, problem, options = CASES[name]
    plain = solved(solver, problem, **copy.deepcopy(options))
    callback = TrajectoryCallback(tmp_path / "run.h5", strict=True)
    watched = solved(solver, problem, callback, **copy.deepcopy(options))
    assert torch.equal(bits(plain), bits(watched))
    assert not [name for name in ("aggregate",) if name in vars(watched.weighting)]
    assert not [c for c in watched.problem.conditions.values() if "evaluate" in vars(c)]
    found = read(tmp_path / "run.h5")
    series = found["series"].isel(step=slice(0, 8))
    assert series.step.values.tolist() == list(range(8))
    total = (series.loss_raw * series.loss_weight).sum("term")
    np.testing.assert_allclose(total, series.loss, rtol=2e-6)
    assert np.isfinite(series.gradient_norm).all() and np.isfinite(series.update_norm).all()
    evaluated = found["evaluations"].step.size if "evaluations" in found else 0
    assert (evaluated > 0) == (name == "lbfgs")
    assert ("residuals" in found) == (name != "data")
    assert float(found["series"].field_std[0]) > 0


def by_hand(net, points):
    """Residual of the membrane by plain autograd."""
    x = points.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    second = [torch.autograd.grad(slope[:, axis].sum(), x, create_graph=True)[0][:, axis] for axis in (0, 1)]
    source = 2 * torch.pi**2 * torch.sin(torch.pi * x[:, 0]) * torch.sin(torch.pi * x[:, 1])
    return sum(second) + source


def start(inputs=2):
    net = network(inputs)
    torch.manual_seed(1)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5)
    return net


@pytest.mark.parametrize("name", ["pinn", "weights", "gradient", "rba", "competitive", "adaptive", "ensemble"])
def test_raw_losses_are_those_of_the_pure_residual(tmp_path, name):
    solver, problem, options = CASES[name]
    solved(solver, problem, TrajectoryCallback(tmp_path / "run.h5", strict=True), epochs=1, **copy.deepcopy(options))
    found = read(tmp_path / "run.h5")
    points = torch.tensor(found["points"].interior.values, dtype=torch.float32)
    residual = by_hand(start(), points)
    assert len(points) == 60 and found["points"].axis.values.astype(str).tolist() == ["x", "y"]
    np.testing.assert_allclose(found["residuals"].residual[0], residual.detach(), rtol=1e-4, atol=1e-4)
    raw = found["series"].loss_raw.sel(term="inside").values[0]
    assert raw == pytest.approx(residual.square().mean().item(), rel=1e-5)
    exact = torch.sin(torch.pi * points).prod(dim=1)
    error = (start()(points)[:, 0].detach() - exact).norm() / exact.norm()
    assert found["series"].rel_l2.values[0] == pytest.approx(error.item(), rel=1e-5)
    weights = {"weights": 50.0, "pinn": 1.0, "ensemble": 1.0, "competitive": None, "adaptive": None}.get(name)
    if weights is not None:
        assert found["series"].loss_weight.sel(term="edge").values[0] == pytest.approx(weights, rel=1e-6)


def test_gradients_over_blocks_are_those_of_the_blocks(tmp_path):
    solved(PINN, Membrane, TrajectoryCallback(tmp_path / "run.h5", strict=True, blocks=6), epochs=1)
    found = read(tmp_path / "run.h5")
    net, points = start(), torch.tensor(found["points"].interior.values, dtype=torch.float32)
    weights = [p for name, p in net.named_parameters() if name.endswith("weight")]
    mean = torch.autograd.grad(by_hand(net, points).square().mean(), weights)
    size = torch.cat([g.flatten() for g in mean]).norm().item()
    assert found["gradients"].mean_norm_total.values[0] == pytest.approx(size, rel=1e-4)
    assert found["gradients"].attrs["way"] == "stacked"
    assert found["gradients"].layer.values.astype(str).tolist() == ["0.weight", "2.weight", "4.weight"]


@pytest.mark.parametrize("name", ["rba", "adaptive"])
def test_weights_of_the_points_are_recorded(tmp_path, name):
    solver, problem, options = CASES[name]
    built = solved(solver, problem, TrajectoryCallback(tmp_path / "run.h5", strict=True), **options)
    found = read(tmp_path / "run.h5")["residuals"].attention
    held = built.weight_inside if name == "rba" else built.weights.func(built.weights.inside)
    np.testing.assert_allclose(found.values[-1], held.detach()[:, 0], rtol=1e-6)
    if name == "rba":
        # After one step each weight is eta times the residual's share: the points are those of the weights.
        solved(solver, problem, TrajectoryCallback(tmp_path / "one.h5", strict=True), epochs=1)
        one = read(tmp_path / "one.h5")
        share = np.abs(one["residuals"].residual.values[0])
        np.testing.assert_allclose(one["residuals"].attention.values[-1], 1e-3 * share / share.max(), rtol=1e-4)
        assert '"form": "mean(lambda r^2)"' in one["attrs"]["config"] and '"gamma": 0.999' in one["attrs"]["config"]


def test_unknown_parameters_are_coefficients(tmp_path):
    built = solved(PINN, Rate, TrajectoryCallback(tmp_path / "run.h5", strict=True), optimizer=adam(), epochs=20)
    found = read(tmp_path / "run.h5")["coefficients"]
    assert found.coefficient.values.astype(str).tolist() == ["k"] and len(np.unique(found.value)) > 10
    assert abs(float(found.value[-1, 0]) - built.problem.unknown_parameters["k"].item()) < 0.02


def test_each_opponent_has_a_file_of_its_own(tmp_path):
    for name in ("adaptive", "competitive"):
        solver, problem, _ = CASES[name]
        files = [tmp_path / f"{name}{number}.h5" for number in (0, 1)]
        own = [TrajectoryCallback(path, optimizer=number, strict=True) for number, path in enumerate(files)]
        assert torch.equal(bits(solved(solver, problem)), bits(solved(solver, problem, *own)))
        first, second = (read(path) for path in files)
        assert (first["series"].loss.values[:8] > 0).all() and (second["series"].loss.values < 0).all()
        assert "residuals" not in second and second["series"].step.size == 8
        expected = 120 if name == "adaptive" else first["parameters"].sizes["parameter"]
        assert second["parameters"].sizes["parameter"] == expected


def test_networks_that_read_labels_and_systems_of_equations(tmp_path):
    def twice(points, u):
        return laplacian(u, points) + 2 * torch.pi**2 * bump(points)

    def problem():
        return Membrane(SystemEquation([twice, twice]))

    plain = solved(PINN, problem, net=Labels())
    watched = solved(PINN, problem, TrajectoryCallback(tmp_path / "run.h5", strict=True), net=Labels())
    assert torch.equal(bits(plain), bits(watched))
    found = read(tmp_path / "run.h5")
    assert found["gradients"].attrs["way"] == "stacked" and found["compression"].layer.size == 2
    np.testing.assert_allclose(
        (found["residuals"].residual ** 2).mean("point")[0] / 4,
        found["series"].loss_raw.sel(term="inside")[0],
        rtol=1e-4,
    )


class Asking(Callback):
    """Has a callback write its rows, as a checkpoint does."""

    def __init__(self, callback):
        self.callback = callback

    def on_train_epoch_end(self, trainer, solver):
        self.callback.state_dict()


@pytest.mark.parametrize("flushed", [False, True])
def test_optimizers_that_change_on_the_way(tmp_path, flushed):
    def switched(*callbacks):
        own = [Asking(each) for each in callbacks if flushed]
        return solved(PINN, Membrane, *callbacks, then=[*own, SwitchOptimizer([lbfgs()], 4)])

    callback = TrajectoryCallback(tmp_path / "run.h5", strict=True)
    assert torch.equal(bits(switched()), bits(switched(callback)))
    found = read(tmp_path / "run.h5")
    assert found["series"].step.values.tolist()[:8] == list(range(8))
    assert np.isfinite(found["series"].loss.values[:8]).all()
    assert set(found["evaluations"].step.values) == {4, 5, 6, 7} and len(found["evaluations"].step) == 16


def test_unknown_parameters_that_a_switch_leaves_out_are_said(tmp_path):
    def switched(*callbacks):
        return solved(PINN, Rate, *callbacks, then=[SwitchOptimizer([lbfgs()], 4)])

    told = "coefficients is not recorded from step 4 .* LBFGS does not move k, .* before the switch"
    # The vector of what the optimizer moves is shorter from then on.
    shorter = pytest.warns(RuntimeWarning, match="/parameters is not recorded from step 4 on")
    with shorter, pytest.warns(RuntimeWarning, match=told):
        watched = switched(TrajectoryCallback(tmp_path / "run.h5"))
    assert torch.equal(bits(switched()), bits(watched))
    found = read(tmp_path / "run.h5")
    assert found["coefficients"].step.values.tolist() == [0, 1, 2, 3]
    assert found["series"].step.values.tolist()[:8] == list(range(8)) and len(found["evaluations"].step) == 16
    with pytest.raises(ValueError, match="train the unknown parameters before the switch"):
        switched(TrajectoryCallback(tmp_path / "strict.h5", strict=True))


def test_what_others_evaluate_between_two_steps_is_not_ours(tmp_path):
    class Evaluating(Callback):
        def on_train_epoch_start(self, trainer, solver):
            condition = solver.problem.conditions["inside"]
            rows = LabelTensor(torch.full((5, 2), 0.5), ["x", "y"]).requires_grad_(True)
            condition.evaluate({"input": rows}, solver)

    solver, problem, options = CASES["gradient"]
    raw = []
    for then in ([], [Evaluating()]):
        path = tmp_path / f"{len(then)}.h5"
        solved(solver, problem, TrajectoryCallback(path, strict=True), then=then, **options)
        raw.append(read(path)["series"].loss_raw.values)
    np.testing.assert_array_equal(*raw)


def test_refined_points_and_validation_are_left_to_pina(tmp_path):
    def refined(*callbacks):
        return solved(PINN, Membrane, *callbacks, then=[R3Refinement(2)], train_size=0.8, val_size=0.2)

    callback = TrajectoryCallback(tmp_path / "run.h5", strict=True)
    assert torch.equal(bits(refined()), bits(refined(callback)))
    assert read(tmp_path / "run.h5")["points"].sizes["interior_point"] == 48


def test_copies_in_the_middle_of_a_training_tell_us_nothing(tmp_path):
    class Copying(Callback):
        def on_train_epoch_end(self, trainer, solver):
            solver.weighting._solver = None  # PINA's conditions have no copies.
            for weighting in (copy.deepcopy(solver.weighting), pickle.loads(pickle.dumps(solver.weighting))):
                weighting._solver = solver
                assert float(weighting.aggregate({"edge": torch.tensor(1e9), "inside": torch.tensor(1e9)})) == 2e9
            solver.weighting._solver = solver

    rba = RBAPhysicsInformedSingleModelSolver
    solved(rba, Membrane, TrajectoryCallback(tmp_path / "run.h5", strict=True), then=[Copying()])
    assert (read(tmp_path / "run.h5")["series"].loss_raw[:8] < 1e8).all()


def test_the_condition_can_be_named(tmp_path):
    solved(PINN, Membrane, TrajectoryCallback(tmp_path / "run.h5", condition="edge", strict=True), epochs=1)
    found = read(tmp_path / "run.h5")
    points = torch.tensor(found["points"].interior.values, dtype=torch.float32)
    np.testing.assert_allclose(found["residuals"].residual[0], start()(points)[:, 0].detach(), rtol=1e-5)
    with pytest.raises(ValueError, match="with points, edge, inside, came 'lid', a name of none: name one of them"):
        solved(PINN, Membrane, TrajectoryCallback(tmp_path / "other.h5", condition="lid"))
    with pytest.raises(ValueError, match=r"whose conditions are its terms, came \['edge_loss'\]: leave terms= out"):
        solved(PINN, Membrane, TrajectoryCallback(tmp_path / "other.h5", terms=["edge_loss"]))


def test_code_of_the_problem_that_fails_here_does_not_stop_the_training(tmp_path):
    class Wrong(Membrane):
        def solution(self, points):
            raise RuntimeError("not written yet")

    plain = solved(PINN, Wrong)
    with pytest.warns(RuntimeWarning, match=r"attach: the solution .* is not recorded \(not written yet\)"):
        watched = solved(PINN, Wrong, TrajectoryCallback(tmp_path / "run.h5"))
    assert torch.equal(bits(plain), bits(watched))
    assert "rel_l2" not in read(tmp_path / "run.h5")["series"]
    with pytest.raises(RuntimeError, match="not written yet"):
        solved(PINN, Wrong, TrajectoryCallback(tmp_path / "strict.h5", strict=True))


def test_a_drowned_condition_is_diagnosed(tmp_path):
    class Plate(Membrane):
        def __init__(self):
            super().__init__(Equation(lambda points, u: laplacian(u, points)))
            warm = Equation(lambda points, u: u - torch.cos(torch.pi * points["x"]))
            self.conditions["edge"] = Condition(domain="edge", equation=warm)
            BaseProblem.__init__(self)

    weighting = ScalarWeighting({"inside": 1.0, "edge": 1e-6})
    callback = TrajectoryCallback(tmp_path / "run.h5", strict=True)
    solved(PINN, Plate, callback, optimizer=adam(), weighting=weighting, epochs=120)
    with open_trajectory(tmp_path / "run.h5") as trajectory:
        first = diagnose(trajectory)[0]
        assert first.name == "neglected_term" and first.evidence["neglected"] == ["edge"]
        assert detect_phases(trajectory).quantity == "residual"
