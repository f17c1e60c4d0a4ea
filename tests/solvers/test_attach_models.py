"""Models that are not called with the points alone, and what the report of a foreign loop shows of them."""

import numpy as np
import pytest
import torch
from torch import nn

from dynamics import Recorder, open_trajectory
from dynamics.compression import information_compression
from dynamics.report import report_html
from solvers.attaching.attach import attach
from solvers.cadence import Every

X = torch.linspace(-1, 1, 41, dtype=torch.float64)[:, None]


class Columns(nn.Module):
    """Called with a tensor an axis, as many a PINN is."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1)).double()

    def forward(self, x, t):
        return self.inner(torch.cat([x, t], dim=1))


class Flow(nn.Module):
    """Differentiates by its points, which without a graph it cannot."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1)).double()

    def forward(self, points):
        return torch.autograd.grad(self.inner(points).sum(), points, create_graph=True)[0]


def pair():
    return nn.ModuleList([nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1)).double() for _ in range(2)])


@pytest.mark.parametrize(
    ("make", "residuals", "layers"),
    [
        (Columns, lambda model, p: model(p[:, :1], p[:, 1:]) - p[:, :1], ["inner.1"]),
        (Flow, lambda model, p: model(p) - p, ["inner.1"]),
        (pair, lambda models, p: models[0](p) - models[1](p).square() - 1, ["0.1", "1.1"]),
    ],
)
def test_models_that_are_not_called_with_the_points_alone(tmp_path, make, residuals, layers):
    points = torch.rand(40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def trained(path=None):
        torch.manual_seed(0)
        model = make()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        own = points.clone().requires_grad_()
        recorder = None if path is None else Recorder(path)
        watched = None if path is None else attach(recorder, optimizer, model, residuals, points=points, strict=True)
        for _ in range(4):
            optimizer.zero_grad()
            loss = residuals(model, own).square().mean()
            loss.backward()
            if watched is not None:
                watched.terms(pde=loss)
            optimizer.step()
        if watched is not None:
            watched.detach()
            recorder.close()
        return model

    alone, recorded = trained(), trained(tmp_path / "run.h5")
    assert all(map(torch.equal, alone.parameters(), recorded.parameters()))
    with open_trajectory(tmp_path / "run.h5") as found:
        last = residuals(alone, points.clone().requires_grad_()).detach().abs().sum(dim=1)
        np.testing.assert_allclose(np.abs(found["residuals/residual"].values[-1]), last, rtol=1e-12)
        assert found["compression/layer"].values.tolist() == layers and "points" not in found["compression"].attrs
        assert np.isfinite(found["compression/saturation"].values).all()
        assert found["gradients/mean_norm_total"].values[-1] > 0 and "field_mean" not in found["series"]
        assert "row_entropy_share" in information_compression(found)
        html = report_html(found, "run.h5")
        assert "Compression of the layers</h2>" in html and f"<h1>{type(alone).__name__}, Adam, float64</h1>" in html
        assert "not recorded" not in html


def test_what_needs_a_model_of_the_points_alone_is_refused_of_others(tmp_path):
    model, points = Columns(), torch.rand(5, 2, dtype=torch.float64)
    with Recorder(tmp_path / "run.h5") as recorder:
        for more in ({"solution": points[:, 0]}, {"every": {"activations": Every(1)}}):
            with pytest.raises(ValueError, match="came Columns that is not: leave them out, and pass errors="):
                attach(recorder, torch.optim.SGD(model.parameters()), model, points=points, **more)
        # A model of the points alone, and points that are not its own: torch says how.
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            attach(recorder, torch.optim.SGD(model.parameters()), model.inner, points=points[:, :1])
        recorder.record("series", 0, loss=1.0)


def test_a_report_of_a_loop_without_points_shows_its_layers_and_says_what_to_pass(tmp_path):
    model = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    adam, lbfgs = torch.optim.Adam(model.parameters()), torch.optim.LBFGS(model.parameters(), max_iter=3)

    def closure():
        lbfgs.zero_grad()
        loss = model(X).square().mean()
        loss.backward()
        return loss

    with Recorder(tmp_path / "run.h5") as recorder:
        with attach(recorder, adam, model) as watched, attach(recorder, lbfgs, model):
            watched.terms(pde=closure())
            adam.step()
            lbfgs.step(closure)
    with open_trajectory(tmp_path / "run.h5") as found:
        html = report_html(found, "run.h5")
    assert "<h1>Sequential, Adam, then LBFGS, float64</h1>" in html and "Compression of the layers</h2>" in html
    assert html.count("not recorded; pass attach residuals= and points=") == 3 and "solvers.probes" not in html
