"""Training: what `steps` yields, what `train` records, divergence, interruption, and that recording changes nothing."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import torch

import solvers
from dynamics import open_trajectory, validate
from dynamics.recorder import Recorder
from solvers import MLP, AutoDiff, Every, FiniteDifference, Probe, ResidualBasedAttention, Torch, probes, steps, train
from solvers.device import available
from solvers.optimizers import LBFGS, FlatParameters, LevenbergMarquardt
from solvers.problems import burgers, helmholtz, poisson_1d

ADAM = Torch(torch.optim.Adam, lr=5e-3)
SEARCH = Torch(torch.optim.LBFGS, lr=1.0, max_iter=5, line_search_fn="strong_wolfe")


def small(problem=None, seed=1):
    problem = problem or poisson_1d()
    torch.manual_seed(seed)
    return problem, MLP(len(problem.axes), [6, 5]), problem.sample(interior=24, boundary=8, initial=6)


def losses_of(optimizer=ADAM, count=12, problem=None, operator=None, **options):
    problem, network, points = small(problem)
    run = steps(problem, network, operator or AutoDiff(), optimizer, points=points, steps=count, **options)
    return [step.loss for step in run]


# The generator.


def test_steps_yields_the_state_before_each_update_and_after_the_last():
    problem, network, points = small()
    found = list(steps(problem, network, AutoDiff(), ADAM, points=points, steps=7))
    assert [step.step for step in found] == list(range(8))
    assert [step.status for step in found] == ["running"] * 7 + ["complete"]
    assert all(step.loss == pytest.approx(sum(step.terms.values()), rel=1e-14) for step in found)
    assert list(found[0].terms) == ["interior", "boundary"]
    assert found[0].info.learning_rate == 5e-3
    assert math.isnan(found[-1].info.learning_rate)


def test_training_equals_a_loop_written_by_hand():
    problem, network, points = small()
    reference = MLP(1, [6, 5]).double()
    reference.load_state_dict(network.state_dict())
    adam = torch.optim.Adam(reference.parameters(), lr=5e-3)
    expected = []
    for _ in range(13):
        x = points.interior.clone().requires_grad_(True)
        first = torch.autograd.grad(reference(x).sum(), x, create_graph=True)[0]
        second = torch.autograd.grad(first.sum(), x, create_graph=True)[0]
        residual = -second - math.pi**2 * torch.sin(math.pi * points.interior)
        loss = residual.square().mean() + reference(points.boundary).square().mean()
        expected.append(float(loss.detach()))
        adam.zero_grad()
        loss.backward()
        adam.step()
    found = [step.loss for step in steps(problem, network, AutoDiff(), ADAM, points=points, steps=12)]
    assert found == pytest.approx(expected, rel=1e-10)


def test_attention_follows_its_rule_and_enters_the_loss_inside_the_square():
    problem, network, points = small()
    rule, weights = ResidualBasedAttention(0.9, 0.1), np.zeros(24)
    seen = []
    keep = Probe("seen", {}, lambda m: seen.append((m.evaluation.residual.detach().numpy(), m.attention.numpy())) or {})
    run = steps(
        problem,
        network,
        AutoDiff(),
        ADAM,
        points=points,
        steps=5,
        attention=rule,
        probes=[dataclasses.replace(keep, every=Every(1))],
    )
    for step in run:
        residual, attention = seen[-1]
        size = np.abs(residual[:, 0])
        weights = 0.9 * weights + 0.1 * size / size.max()
        assert np.allclose(attention, weights, rtol=1e-13)
        assert step.terms["interior"] == pytest.approx(np.mean(size**2), rel=1e-13)
        expected = np.mean((weights * size) ** 2) + step.terms["boundary"]
        assert step.loss == pytest.approx(expected, rel=1e-12)
    assert len(seen) == 6


def test_the_loop_belongs_to_the_caller():
    problem, network, points = small()
    for step in steps(problem, network, AutoDiff(), ADAM, points=points, steps=1000):
        if step.step == 3:
            break
    assert step.status == "running"


def test_default_points_follow_the_seed():
    def first(seed):
        problem, network, _ = small()
        return next(steps(problem, network, AutoDiff(), ADAM, steps=1, seed=seed)).loss

    assert first(1) == first(1) != first(2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_goes_through_everything(dtype, tmp_path):
    problem, network, points = small()
    run = train(
        problem, network, FiniteDifference(), ADAM, points=points, steps=5, dtype=dtype, record=tmp_path / "run.h5"
    )
    assert {p.dtype for p in network.parameters()} == {dtype}
    with open_trajectory(run.path) as trajectory:
        assert trajectory.attrs["dtype"] == str(dtype).removeprefix("torch.")
        assert np.isfinite(trajectory["series/loss"].values).all()
    coarse = losses_of(dtype=torch.float32)
    assert coarse != losses_of()
    assert coarse == pytest.approx(losses_of(), rel=1e-3)


@pytest.mark.cuda
@pytest.mark.parametrize("optimizer", [ADAM, SEARCH], ids=["adam", "lbfgs"])
@pytest.mark.parametrize("operator", [AutoDiff(), FiniteDifference(step=1e-2)], ids=["autodiff", "central-2"])
@pytest.mark.parametrize("attention", [None, ResidualBasedAttention()], ids=["vanilla", "attention"])
def test_cuda_trains_as_the_cpu_does(optimizer, operator, attention, cuda):
    here = losses_of(optimizer, 20, operator=operator, attention=attention)
    there = losses_of(optimizer, 20, operator=operator, attention=attention, device=cuda)
    assert there[:20] == pytest.approx(here[:20], rel=1e-10 if operator.exact else 1e-7)


# The recorded run.


@pytest.mark.parametrize("optimizer", [ADAM, SEARCH], ids=["adam", "lbfgs"])
@pytest.mark.parametrize("attention", [None, ResidualBasedAttention(0.9, 0.1)], ids=["vanilla", "attention"])
@pytest.mark.parametrize("operator", [AutoDiff(), FiniteDifference()], ids=["autodiff", "central-2"])
def test_recording_changes_no_bit_of_the_training(optimizer, attention, operator, tmp_path):
    plain = losses_of(optimizer, operator=operator, attention=attention)
    with Recorder(tmp_path / "run.h5") as recorder:
        recorded = losses_of(optimizer, operator=operator, attention=attention, record=recorder)
    assert recorded == plain


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A vanilla Burgers run with every step of it, and the flat vector before each update."""
    problem, network, points = small(burgers())
    path = tmp_path_factory.mktemp("run") / "run.h5"
    vectors, found = [], []
    watch = Probe("watch", {"x": ()}, lambda m: vectors.append(m.objective.vector.clone()) or {"x": m.step}, Every(1))
    stock = [probes.errors(Every(2)), probes.parameters(Every(3)), probes.residuals(Every(4)), watch]
    with Recorder(path) as recorder:
        run = steps(problem, network, AutoDiff(), ADAM, points=points, steps=10, probes=stock, record=recorder)
        found.extend(run)
    return path, found, vectors, points


def test_the_file_holds_what_steps_yielded(recorded):
    path, found, vectors, _ = recorded
    assert validate(path) == []
    with open_trajectory(path) as trajectory:
        series = trajectory["series"]
        assert series["step"].values.tolist() == list(range(11))
        assert series["loss"].values.tolist() == [step.loss for step in found]
        assert series["term"].values.tolist() == ["interior", "boundary", "initial"]
        assert series["loss_raw"].values.tolist() == [list(step.terms.values()) for step in found]
        assert (series["loss_weight"].values == 1).all()
        assert series["learning_rate"].values[:-1].tolist() == [5e-3] * 10
        assert np.isnan(series["learning_rate"].values[-1])
        assert series["evaluations"].values.tolist() == list(range(1, 12))
        norms = [float(vector.norm()) for vector in vectors]
        assert series["parameter_norm"].values == pytest.approx(norms, rel=1e-12)
        updates = [float((after - before).norm()) for before, after in itertools.pairwise(vectors)]
        assert series["update_norm"].values[:-1] == pytest.approx(updates, rel=1e-9)
        assert np.isnan(series["update_norm"].values[-1])
        assert (series["gradient_norm"].values[:-1] > 0).all()
        measured = np.isfinite(series["rel_l2"].values)
        assert measured.tolist() == [step % 2 == 0 for step in range(11)]
        assert "evaluations" not in trajectory.children


def test_measurements_are_taken_before_the_update_and_after_the_last(recorded):
    path, found, vectors, _ = recorded
    with open_trajectory(path) as trajectory:
        parameters = trajectory["parameters"]
        assert parameters["step"].values.tolist() == [0, 3, 6, 9, 10]
        for step, value in zip(parameters["step"].values, parameters["value"].values, strict=True):
            assert value.tolist() == vectors[step].tolist()
        residuals = trajectory["residuals"]
        assert residuals["step"].values.tolist() == [0, 4, 8, 10]
        for step, residual in zip(residuals["step"].values, residuals["residual"].values, strict=True):
            assert np.mean(residual**2) == pytest.approx(found[step].terms["interior"], rel=1e-12)


def test_vanilla_runs_record_the_attention_that_they_do_not_use(recorded):
    path, found, _, _ = recorded
    with open_trajectory(path) as trajectory:
        first, last = (trajectory["residuals/attention"].values[row] for row in (0, -1))
        residual = np.abs(trajectory["residuals/residual"].values[0])
    assert first == pytest.approx(0.001 * residual / residual.max(), rel=1e-12)
    assert last.max() > 5 * first.max()
    assert found[-1].loss == pytest.approx(sum(found[-1].terms.values()), rel=1e-12)


def test_points_are_recorded_with_their_box(recorded):
    path, _, _, points = recorded
    with open_trajectory(path) as trajectory:
        stored = trajectory["points"]
        for kind in ("interior", "boundary", "initial"):
            assert np.array_equal(stored[kind].values, getattr(points, kind).numpy())
        assert stored["axis"].values.tolist() == ["x", "t"]
        assert (json.loads(stored.attrs["lower"]), json.loads(stored.attrs["upper"])) == ([-1.0, 0.0], [1.0, 1.0])


def test_the_standard_run_is_a_valid_trajectory_with_every_stream(tmp_path):
    problem, network, points = small(helmholtz((1, 1)))
    rule = ResidualBasedAttention(0.9, 0.1)
    run = train(
        problem,
        network,
        FiniteDifference(order=4),
        ADAM,
        points=points,
        steps=9,
        attention=rule,
        seed=5,
        record=str(tmp_path / "run.h5"),
        config={"note": "mine"},
    )
    assert validate(run.path) == []
    with open_trajectory(run.path) as trajectory:
        assert set(trajectory.children) >= {"series", "gradients", "homogeneity", "residuals", "parameters", "points"}
        for stream in ("gradients", "homogeneity", "residuals", "parameters"):
            assert trajectory[stream]["step"].values[[0, -1]].tolist() == [0, 9]
        assert np.isfinite(trajectory["series/exact_loss"].values[[0, -1]]).all()
        assert trajectory["series/rel_l2"].values[-1] == run.rel_l2
        assert trajectory["series/loss"].values[-1] == run.loss
        series = trajectory["series"]
        total = (series["loss_weight"] * series["loss_raw"]).sum("term").values
        assert total == pytest.approx(series["loss"].values, rel=1e-12)
        assert (series["loss_weight"].values[:, 0] < 1).all()
        assert (trajectory.attrs["status"], str(trajectory.attrs["seed"])) == ("complete", "5")
        config = trajectory.attrs["config"]
    for word in ("helmholtz", "FiniteDifference", "MLP", "Adam", "0.005", '"gamma"', '"note"', "mine", '"steps"'):
        assert word in str(config)
    assert (run.status, run.reason, run.step) == ("complete", "", 9)
    assert 0 < run.recording_seconds < run.seconds
    assert run.recording_share == pytest.approx(run.recording_seconds / (run.seconds - run.recording_seconds))


def test_lbfgs_records_every_evaluation(tmp_path):
    problem, network, points = small()
    run = train(problem, network, AutoDiff(), SEARCH, points=points, steps=6, record=tmp_path / "run.h5")
    with open_trajectory(run.path) as trajectory:
        assert validate(run.path) == []
        series, each = trajectory["series"], trajectory["evaluations"]
        of_step = each["step"].values
        assert sorted(set(of_step.tolist())) == list(range(6))
        assert (np.bincount(of_step) > 5).all()
        # The last row's evaluation is made by nobody's closure.
        assert len(of_step) == series["evaluations"].values[-1] - 1
        for step in range(6):
            rows = of_step == step
            assert each["loss"].values[rows][0] == series["loss"].values[step]
            assert each["gradient_norm"].values[rows][0] == series["gradient_norm"].values[step]
            assert each["step_length"].values[rows][0] == 0.0
            lengths = each["step_length"].values[rows]
            assert np.abs(lengths - series["update_norm"].values[step]).min() <= 1e-12


@pytest.mark.parametrize("search", [LBFGS(), LBFGS(max_evaluations=2), LBFGS(tolerance_gradient=1e9)])
def test_a_search_that_ends_where_the_next_step_begins_is_recorded_once(search, tmp_path, monkeypatch):
    problem, network, points = small()
    made, gradient = [], FlatParameters.gradient
    monkeypatch.setattr(FlatParameters, "gradient", lambda *given: made.append(1) or gradient(*given))
    run = train(problem, network, AutoDiff(), search, points=points, steps=7, record=tmp_path / "run.h5", probes=[])
    with open_trajectory(run.path) as trajectory:
        series = {name: each.values for name, each in trajectory["series"].data_vars.items()}
        each = {name: each.values for name, each in trajectory["evaluations"].data_vars.items()}
        of_step = trajectory["evaluations"]["step"].values
    stops = search.tolerance_gradient > 1
    assert run.step == (1 if stops else 7) and len(made) == len(of_step) == series["evaluations"][-1]
    assert np.isfinite(series["gradient_norm"]).all()
    assert (each["loss"][0], each["gradient_norm"][0]) == (series["loss"][0], series["gradient_norm"][0])
    assert (each["step_length"] == 0).tolist() == [True] + [False] * (len(of_step) - 1)
    for step in range(0 if stops else 7):
        last = np.flatnonzero(of_step == step)[-1]
        assert each["loss"][last] == series["loss"][step + 1]
        assert each["gradient_norm"][last] == series["gradient_norm"][step + 1]
        assert each["step_length"][last] == series["update_norm"][step]


def test_levenberg_marquardt_records_one_gradient_a_step(tmp_path):
    problem, network, points = small()
    run = train(problem, network, AutoDiff(), LevenbergMarquardt(), points=points, steps=5, record=tmp_path / "run.h5")
    with open_trajectory(run.path) as trajectory:
        series, each = trajectory["series"], trajectory["evaluations"]
        assert each["step"].values.tolist() == list(range(5))
        assert each["loss"].values.tolist() == series["loss"].values[:-1].tolist()
        assert each["gradient_norm"].values.tolist() == series["gradient_norm"].values[:-1].tolist()
        # A trial takes the residual ahead and the loss; going back to the start computes neither.
        counts = series["evaluations"].values
        made = np.diff(counts)
        assert counts[0] % 2 == 1 and (made[:-1] % 2 == 0).all() and (made[:-1] > 0).all() and made[-1] == 0


def test_the_gradient_norm_is_that_of_the_row_however_lbfgs_ended_the_last_step(tmp_path):
    """With few evaluations allowed, the reason for stopping is looked for at the point where the next step begins."""
    problem, network, points = small()
    search = Torch(torch.optim.LBFGS, lr=1.0, max_iter=20, max_eval=6, line_search_fn="strong_wolfe")
    norms = []

    def measure(moment):
        gradient = torch.autograd.grad(moment.evaluation.value, moment.objective.parameters.leaves, retain_graph=True)
        norms.append(float(torch.cat([g.reshape(-1) for g in gradient]).norm()))
        return {"x": 0.0}

    watch = Probe("watch", {"x": ()}, measure, Every(1))
    rule = ResidualBasedAttention(0.5, 0.5)
    run = train(
        problem,
        network,
        AutoDiff(),
        search,
        points=points,
        steps=8,
        attention=rule,
        probes=[watch],
        record=tmp_path / "run.h5",
    )
    with open_trajectory(run.path) as trajectory:
        assert trajectory["series/gradient_norm"].values[:-1] == pytest.approx(norms[:-1], rel=1e-10)


def test_why_lbfgs_stopped_is_in_the_run_and_in_the_file(tmp_path):
    problem, network, points = small()
    search = Torch(
        torch.optim.LBFGS, lr=1.0, max_iter=20, max_eval=1000, tolerance_grad=1.0, line_search_fn="strong_wolfe"
    )
    run = train(problem, network, AutoDiff(), search, points=points, steps=200, record=tmp_path / "run.h5")
    assert run.status == "complete"
    assert run.reason == "gradient below tolerance_grad = 1"
    assert run.step < 200
    with open_trajectory(run.path) as trajectory:
        assert trajectory.attrs["stop_reason"] == run.reason
        assert trajectory.attrs["status"] == "complete"
        assert trajectory["series/step"].values[-1] == run.step
        assert trajectory["parameters/step"].values[-1] == run.step
        assert np.isfinite(trajectory["series/rel_l2"].values[-1])


# What goes wrong.


@pytest.mark.parametrize("optimizer", [Torch(torch.optim.SGD, lr=1e30), Torch(torch.optim.LBFGS, lr=1e200)])
def test_divergence_is_a_status_and_what_came_before_is_kept(optimizer, tmp_path):
    problem, network, points = small()
    stock = [probes.residuals(Every(1)), probes.errors(Every(1))]
    run = train(
        problem, network, AutoDiff(), optimizer, points=points, steps=50, probes=stock, record=tmp_path / "run.h5"
    )
    assert run.status == "diverged"
    assert 0 < run.step < 50
    assert not math.isfinite(run.loss)
    assert run.reason == f"loss is {run.loss} at step {run.step}"
    assert validate(run.path) == []
    with open_trajectory(run.path) as trajectory:
        assert trajectory.attrs["status"] == "diverged"
        assert trajectory.attrs["stop_reason"] == run.reason
        loss = trajectory["series/loss"].values
        assert len(loss) == run.step + 1
        assert np.isfinite(loss[:-1]).all()
        assert not np.isfinite(loss[-1])
        assert trajectory["residuals/step"].values.tolist() == list(range(run.step))
        assert np.isfinite(trajectory["residuals/residual"].values).all()
        assert math.isfinite(run.rel_l2)


def test_a_run_that_is_not_finite_from_the_start_is_recorded_as_such(tmp_path):
    problem, network, points = small()
    with torch.no_grad():
        network[0].weight.fill_(math.nan)
    for operator in (AutoDiff(), FiniteDifference()):
        run = train(problem, network, operator, ADAM, points=points, steps=5, record=tmp_path / f"{operator.exact}.h5")
        assert (run.status, run.step) == ("diverged", 0)
        assert validate(run.path) == []
        with open_trajectory(run.path) as trajectory:
            assert len(trajectory["series/loss"]) == 1
            assert trajectory.attrs["status"] == "diverged"


def test_an_interrupted_run_is_readable(tmp_path):
    problem, network, points = small()

    def measure(moment):
        if moment.step == 4:
            raise KeyboardInterrupt
        return {"x": float(moment.step)}

    with pytest.raises(KeyboardInterrupt):
        train(
            problem,
            network,
            AutoDiff(),
            ADAM,
            points=points,
            steps=9,
            record=tmp_path / "run.h5",
            probes=[Probe("watch", {"x": ()}, measure, Every(1))],
        )
    assert validate(tmp_path / "run.h5") == []
    with open_trajectory(tmp_path / "run.h5") as trajectory:
        assert trajectory.attrs["status"] == "interrupted"
        assert trajectory["series/step"].values.tolist() == [0, 1, 2, 3]
        assert trajectory["watch/x"].values.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_an_open_recorder_stays_open_and_its_owners(tmp_path):
    problem, network, points = small()
    with Recorder(tmp_path / "run.h5") as recorder:
        run = train(problem, network, AutoDiff(), ADAM, points=points, steps=2, record=recorder)
        recorder.record("mine", step=0, x=1.0)
    with open_trajectory(run.path) as trajectory:
        assert trajectory["mine/x"].values.tolist() == [1.0]
        assert len(trajectory["series/loss"]) == 3


def test_without_a_record_nothing_is_written_or_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    problem, network, points = small()
    run = train(problem, network, AutoDiff(), ADAM, points=points, steps=2)
    assert run.path is None
    assert math.isnan(run.rel_l2)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_exists_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "run.h5"
    path.write_bytes(b"precious")
    problem, network, points = small()
    before = [p.detach().clone() for p in network.parameters()]
    with pytest.raises(FileExistsError, match="overwrite=True"):
        train(problem, network, AutoDiff(), ADAM, points=points, steps=2, record=path)
    assert path.read_bytes() == b"precious"
    for parameter, start in zip(network.parameters(), before, strict=True):
        assert torch.equal(parameter.detach().float(), start)
    train(problem, network, AutoDiff(), ADAM, points=points, steps=2, record=path, overwrite=True)
    assert validate(path) == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"device": "gpu"}, "unknown device 'gpu'; expected 'cpu', 'cuda'"),
        ({"device": "cuda:99"}, "'cuda:99' is not here"),
        ({"steps": 0}, "at least one step, came 0"),
        ({"problem": helmholtz()}, "helmholtz has the axes x, y, the points have x"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_bad_options_leave_no_file_and_hurt_none(options, expected, overwrite, tmp_path):
    problem, network, points = small()
    path = tmp_path / "run.h5"
    if overwrite:
        path.write_bytes(b"precious")
    arguments = {"problem": problem, "points": points, "steps": 3, "record": path, "overwrite": overwrite} | options
    with pytest.raises(ValueError, match=expected):
        train(network=network, operator=AutoDiff(), optimizer=ADAM, **arguments)
    assert (path.read_bytes() == b"precious") if overwrite else not path.exists()


def test_steps_refuses_what_train_refuses():
    problem, network, points = small()
    with pytest.raises(ValueError, match="at least one step, came 0"):
        steps(problem, network, AutoDiff(), ADAM, points=points, steps=0)
    with pytest.raises(TypeError, match="atention"):
        steps(problem, network, AutoDiff(), ADAM, points=points, steps=1, atention=None)


def test_the_cpu_is_always_available():
    assert available("cpu") == available(torch.device("cpu")) == torch.device("cpu")


def test_the_public_names_are_there():
    assert all(hasattr(solvers, name) for name in solvers.__all__)
    assert sorted(solvers.__all__, key=str.lower) == sorted(set(solvers.__all__), key=str.lower)
