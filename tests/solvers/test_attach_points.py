"""What an attachment measures at points: residuals, their spread, gradients of blocks, hidden layers; and analyzers."""

import numpy as np
import pytest
import torch
from torch import nn

from dynamics import Recorder, diagnose, gradient_snr, open_trajectory, residual_homogeneity
from dynamics.compression import compress
from solvers.attaching.attach import attach
from solvers.attaching.block_gradients import AttachedBlocks
from solvers.cadence import Every

X = torch.linspace(-1, 1, 41, dtype=torch.float64)[:, None]


def network(*more):
    return nn.Sequential(nn.Linear(1, 6), nn.Tanh(), *more, nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1)).double()


def second_derivative(model, points):
    """The residual as most write it."""
    u = model(points)
    (slope,) = torch.autograd.grad(u.sum(), points, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), points, create_graph=True)
    return torch.cat([curvature + torch.sin(points), slope - u], dim=1)


def by_func(model, points):
    """The same by torch.func, a point at a time."""

    def u(x):
        return model(x[None])[0, 0]

    slope = torch.func.vmap(torch.func.grad(u))
    curvature = torch.func.vmap(torch.func.hessian(u))(points)[:, :, 0]
    return torch.cat([curvature + torch.sin(points), slope(points) - model(points)], dim=1)


def noisy(model, points):
    return model(points) + 0.0 * torch.rand(len(points), 1, dtype=points.dtype)[torch.randperm(len(points))]


def by_mean(model, points):
    """Rows that depend on one another: in a stack of blocks, on those of other blocks, too."""
    u = model(points)
    return u - u.mean()


def by_mean_slope(model, points):
    (slope,) = torch.autograd.grad(model(points).sum(), points, create_graph=True)
    return slope - slope.mean()


def slow(residuals, model, names, blocks):
    rows = []
    parameters = dict(model.named_parameters())
    for block in range(blocks.blocks):
        points = blocks._points[block * blocks.block_size : (block + 1) * blocks.block_size].clone().requires_grad_()
        loss = residuals(model, points).square().sum(dim=1).mean()
        rows.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, [parameters[name] for name in names])]))
    return torch.stack(rows)


WAYS = [
    (second_derivative, "stacked"),
    (noisy, "stacked"),
    (by_func, "func"),
    (by_mean, "func"),
    (by_mean_slope, "loop"),
]


@pytest.mark.parametrize("residuals, way", WAYS)
def test_gradients_of_blocks_are_those_of_a_backward_pass_each(residuals, way):
    model, names = network(), ["0.weight", "2.weight", "4.weight"]
    blocks = AttachedBlocks(residuals, model, names, X, 8)
    assert blocks.blocks == 8 and blocks.block_size == 5
    dealt = blocks._points.flatten().tolist()
    assert len(set(dealt)) == 40 and set(dealt) <= set(X.flatten().tolist()) and dealt != sorted(dealt)
    for _ in range(2):
        found = blocks()
        torch.testing.assert_close(found, slow(residuals, model, names, blocks), rtol=1e-9, atol=1e-12)
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(1.1)
    assert blocks.way == way


def test_a_model_with_dropout_gives_its_block_gradients_one_by_one():
    model = network(nn.Dropout(0.5))
    blocks = AttachedBlocks(second_derivative, model, ["0.weight"], X, 4)
    assert blocks().shape == (4, 6) and blocks.way == "loop"


def test_a_model_of_several_arguments_and_of_attributes():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.factor = nn.Linear(2, 1).double(), 3.0

        def forward(self, x, y):
            return self.layer(torch.cat([x, y], dim=1))

    def residuals(model, points):
        return model.factor * model(points[:, :1], points[:, 1:]) - model.forward(points[:, :1], points[:, 1:])

    model, points = Two(), torch.cat([X, X.cos()], dim=1)
    blocks = AttachedBlocks(residuals, model, ["layer.weight"], points, 5)
    torch.testing.assert_close(blocks(), slow(residuals, model, ["layer.weight"], blocks))
    assert blocks.way == "stacked"


def trained(path, residuals=None, steps=9, **options):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    kept = []
    with (
        Recorder(path) as recorder,
        attach(recorder, optimizer, model, residuals, points=X, every=Every(4), **options) as watched,
    ):
        for _ in range(steps):
            kept.append([p.detach().clone() for p in model.parameters()])
            optimizer.zero_grad()
            loss = second_derivative(model, X.clone().requires_grad_()).square().sum(dim=1).mean()
            loss.backward()
            watched.terms(pde=loss)
            optimizer.step()
    kept.append([p.detach().clone() for p in model.parameters()])
    return model, kept


def test_the_streams_hold_what_they_say(tmp_path):
    model, kept = trained(tmp_path / "run.h5", second_derivative, blocks=8)
    with open_trajectory(tmp_path / "run.h5") as trajectory:
        steps = [0, 4, 8, 9]
        names = ("residuals", "homogeneity", "gradients", "compression", "parameters")
        for name in names:
            assert trajectory[name]["step"].values.tolist() == steps, name
        gradients = trajectory["gradients"].to_dataset().load()
        assert gradients.layer.values.astype(str).tolist() == ["0.weight", "2.weight", "4.weight"]
        assert gradients.attrs["blocks"] == 8 and gradients.attrs["block_size"] == 5 and gradients.attrs["points"] == 41
        for row, step in enumerate(steps):
            with torch.no_grad():
                for p, value in zip(model.parameters(), kept[step], strict=True):
                    p.copy_(value)
            flat = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
            assert trajectory["parameters/value"].values[row].tolist() == flat.tolist()
            field = model(X).detach().numpy()
            row_of = trajectory["series"].to_dataset().sel(step=step) if step < 9 else None
            if row_of is not None:
                np.testing.assert_allclose([row_of.field_mean, row_of.field_std], [field.mean(), field.std()])
            residual = second_derivative(model, X.clone().requires_grad_()).detach().abs().sum(dim=1).numpy()
            np.testing.assert_allclose(trajectory["residuals/residual"].values[row], residual, rtol=1e-12)
            cells = np.minimum(((X.numpy()[:, 0] + 1) * 5).astype(int), 9)
            means = np.array([residual[cells == cell].mean() for cell in range(10)])
            found = [trajectory[f"homogeneity/{name}"].values[row, 0] for name in ("cell_mean", "cell_rms")]
            np.testing.assert_allclose(found, [means.mean(), np.sqrt((means**2).mean())], rtol=1e-12)
            blocks = AttachedBlocks(second_derivative, model, ["0.weight", "2.weight", "4.weight"], X, 8)
            own = slow(second_derivative, model, blocks.names, blocks).numpy()
            np.testing.assert_allclose(gradients.mean_norm_total[row], np.linalg.norm(own.mean(0)), rtol=1e-9)
            np.testing.assert_allclose(gradients.std_norm_total[row], np.linalg.norm(own.std(0)), rtol=1e-9)
            np.testing.assert_allclose(gradients.block_norm[row], np.linalg.norm(own, axis=1), rtol=1e-9)
            np.testing.assert_allclose(gradients.rms_norm[row, 0], np.sqrt((own[:, :6] ** 2).mean(0).sum()), rtol=1e-9)
            with_sum = np.vstack([own, own.sum(0)])
            np.testing.assert_allclose(gradients.gram[row], with_sum @ with_sum.T, rtol=1e-9, atol=1e-12)
            hidden = model[:2](X).detach().numpy()
            np.testing.assert_allclose(trajectory["compression/saturation"].values[row, 0], compress(hidden, 30)[0])


def test_the_analyzers_take_the_file(tmp_path):
    trained(tmp_path / "run.h5", second_derivative, steps=30, blocks=8)
    with open_trajectory(tmp_path / "run.h5") as trajectory:
        assert (gradient_snr(trajectory)["snr"].values > 0).all()
        phi = residual_homogeneity(trajectory).phi
        assert phi["quantity"].values.tolist() == ["residual"] and ((phi > 0) & (phi <= 1)).all()
        assert not [finding for finding in diagnose(trajectory) if finding.name == "diverged"]


def test_raw_activations_only_where_they_are_named(tmp_path):
    trained(tmp_path / "none.h5", steps=2)
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    with (
        Recorder(tmp_path / "run.h5") as recorder,
        attach(
            recorder, optimizer, model, points=X, every={"activations": Every(1)}, activations=lambda name: name == "3"
        ) as watched,
    ):
        expected = model[:4](X).detach().numpy()
        loss = model(X).square().mean()
        loss.backward()
        watched.terms(loss=loss)
        optimizer.step()
    with open_trajectory(tmp_path / "none.h5") as trajectory:
        assert "activations" not in trajectory
    with open_trajectory(tmp_path / "run.h5") as trajectory:
        assert trajectory["activations"]["layer"].values.astype(str).tolist() == ["3"]
        assert trajectory["compression"]["layer"].values.astype(str).tolist() == ["3"]
        np.testing.assert_allclose(trajectory["activations/activation"].values[0, 0], expected, rtol=1e-14)
        assert trajectory["activations"].attrs["lower"] in ("[-1.0]", -1.0, [-1.0])


@pytest.mark.parametrize("closure", [False, True])
def test_without_points_the_loops_own_passes_are_heard(tmp_path, closure):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    expected = []

    def evaluate():
        optimizer.zero_grad()
        loss = model(X[:3]).square().mean() + model(X).square().mean()
        expected.append(compress(model[:2](X).detach().numpy(), 30)[1])
        loss.backward()
        return loss

    with (
        Recorder(tmp_path / "run.h5") as recorder,
        attach(recorder, optimizer, model, every={"compression": Every(2)}) as watched,
    ):
        for _ in range(4):
            if closure:
                optimizer.step(evaluate)
            else:
                watched.terms(loss=evaluate())
                optimizer.step()
    with open_trajectory(tmp_path / "run.h5") as trajectory:
        assert trajectory["compression"]["step"].values.tolist() == [0, 2]
        found = trajectory["compression/row_entropy"].values[:, 0]
        np.testing.assert_allclose(found, [expected[0], expected[2]], rtol=1e-12)


def test_points_that_are_changed_in_place_are_measured_as_they_were(tmp_path):
    model, points = network(), X.clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with (
        Recorder(tmp_path / "run.h5") as recorder,
        attach(recorder, optimizer, model, second_derivative, points=points, every=Every(1), blocks=4) as watched,
    ):
        for _ in range(3):
            loss = model(points).square().mean()
            loss.backward()
            watched.terms(loss=loss)
            optimizer.step()
            points.uniform_()
    with open_trajectory(tmp_path / "run.h5") as trajectory:
        residual = trajectory["residuals/residual"].values
        assert (residual == residual[0]).all() and len(residual) == 4
        assert trajectory["points/interior"].values.tolist() == X.tolist()
        gram = trajectory["gradients/gram"].values
        assert (gram == gram[0]).all()
