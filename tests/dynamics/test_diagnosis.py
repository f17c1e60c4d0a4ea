import json

import numpy as np
import pytest
import xarray as xr

from dynamics.diagnosis import Finding, diagnose
from dynamics.phases import detect_phases

STEP = np.unique(np.geomspace(1, 2e4, 500).round())


def series(loss=None, weight=(1.0, 1.0), raw=(1.0, 1.0), **columns):
    """A healthy series; any column can be replaced."""
    loss = 1 / STEP if loss is None else np.asarray(loss)
    step = STEP if len(loss) == len(STEP) else np.arange(len(loss))
    terms = {name: (("step", "term"), np.outer(loss, value)) for name, value in (("loss_raw", raw),)}
    terms["loss_weight"] = (("step", "term"), np.tile(np.asarray(weight, float), (len(loss), 1)))
    given = {name: ("step", np.broadcast_to(value, len(loss))) for name, value in columns.items()}
    return xr.Dataset({"loss": ("step", loss), **terms, **given}, {"step": step, "term": ["interior", "boundary"]})


def run(groups=None, *, status="complete", floor=None, dtype="float64", **columns):
    tree = xr.DataTree.from_dict({"series": series(**columns), **(groups or {})})
    tree.dataset = tree.to_dataset().assign(status=((), np.bytes_(status)))
    tree.attrs |= {"dtype": dtype, "config": json.dumps({"problem": {"name": "p", "solution_floor": floor}})}
    return tree


def phase_groups(total=1000):
    snr = np.select([STEP < 60, STEP < total], [20.0, 0.03], 2.1)
    phi = np.where(STEP < total, 0.75, 0.97)
    gradients = {"mean_norm_total": ("step", snr), "std_norm_total": ("step", np.ones_like(snr))}
    cells = {
        "cell_mean": (("step", "quantity"), phi[:, None]),
        "cell_rms": (("step", "quantity"), phi[:, None] ** 0),
    }
    return {
        "gradients": xr.Dataset(gradients, {"step": STEP}),
        "homogeneity": xr.Dataset(cells, {"step": STEP, "quantity": ["attention"]}),
    }


def names(tree):
    return [(finding.name, finding.severity) for finding in diagnose(tree)]


def healthy_columns():
    return {
        "update_norm": 1e-3,
        "parameter_norm": 10.0,
        "learning_rate": 1e-3,
        "rel_l2": 0.01,
        "exact_loss": 1 / STEP,
    }


def test_healthy_run_has_only_its_phase():
    tree = run(phase_groups(), floor=1e-6, **healthy_columns())
    (finding,) = diagnose(tree)
    onset = float(detect_phases(tree).onset.sel(phase="total_diffusion"))
    assert finding.severity == "info"
    assert finding.message == f"total diffusion reached at step {onset:.0f} (SNR 2.1, homogeneity 0.97)"
    assert finding.evidence["total_diffusion_onset"] == onset == pytest.approx(1000, rel=0.1)


def test_healthy_run_without_gradients_has_no_finding():
    assert diagnose(run(floor=1e-6, **healthy_columns())) == ()
    assert diagnose(xr.DataTree()) == ()
    assert diagnose(xr.DataTree.from_dict({"gradients": xr.Dataset()})) == ()


def test_no_total_diffusion():
    (finding,) = diagnose(run(phase_groups(total=1e9)))
    assert finding.severity == "warning"
    assert finding.message.startswith("no total diffusion up to step 20000: SNR never back")


def test_diverged():
    loss = 1 / STEP
    loss[-3:] = np.nan
    rate = np.full(STEP.size, 0.5)
    (finding,) = diagnose(run(loss=loss, learning_rate=rate, status="running"))
    assert (finding.name, finding.severity) == ("diverged", "error")
    assert finding.evidence["step"] == STEP[-3] and finding.evidence["last_finite_step"] == STEP[-4]
    assert finding.evidence["last_finite_loss"] == loss[-4] and finding.evidence["learning_rate"] == 0.5
    assert "learning rate" in finding.advice


def test_diverged_to_infinity_in_between_and_by_status_alone():
    loss = 1 / STEP
    loss[7] = np.inf
    assert diagnose(run(loss=loss))[0].evidence["step"] == STEP[7]
    loss[-1] = np.nan
    assert diagnose(run(loss=loss, status="diverged"))[0].evidence["step"] == STEP[7]
    (finding,) = diagnose(run(status="diverged"))
    assert finding.evidence["last_step"] == STEP[-1]
    assert diagnose(run(loss=[np.nan], status="diverged"))[0].evidence["step"] == 0


def test_absent_losses_are_no_divergence():
    loss = np.where(np.arange(STEP.size) % 10 == 0, 1 / STEP, np.nan)
    assert diagnose(run(loss=loss)) == ()


def test_at_the_references_floor():
    rel_l2 = np.full(STEP.size, 0.1)
    rel_l2[-2:] = 2.5e-6, np.nan
    (finding,) = diagnose(run(floor=1e-6, rel_l2=rel_l2))
    assert (finding.name, finding.severity) == ("reference_floor", "info")
    assert "at the reference's floor" in finding.message and "<= 1.0e-06" in finding.message
    assert "2.5" not in finding.message and finding.evidence["step"] == STEP[-2]
    assert diagnose(run(floor=1e-6, rel_l2=3.1e-6)) == ()
    assert diagnose(run(floor=None, rel_l2=1e-20)) == ()


def test_at_the_operators_floor():
    exact = np.full(STEP.size, np.nan)
    exact[::100] = 1e-2
    (finding,) = diagnose(run(exact_loss=exact))
    assert (finding.name, finding.severity) == ("operator_floor", "warning")
    assert finding.evidence == {"step": STEP[300], "loss": 1 / STEP[300], "exact_loss": 1e-2}
    assert diagnose(run(exact_loss=9 / STEP)) == ()


def test_updates_lost_to_rounding():
    assert names(run(update_norm=5e-7, parameter_norm=10.0, dtype="float32")) == [("rounding_floor", "warning")]
    assert names(run(update_norm=5e-7, parameter_norm=10.0, dtype="torch.float32")) == [("rounding_floor", "warning")]
    assert diagnose(run(update_norm=5e-7, parameter_norm=10.0, dtype="float64")) == ()
    assert diagnose(run(update_norm=5e-7, parameter_norm=10.0, dtype="int3")) == ()
    sparse = np.full(STEP.size, np.nan)
    sparse[-4:] = 0.0
    assert diagnose(run(update_norm=sparse, parameter_norm=10.0)) == ()


@pytest.mark.parametrize(("loss", "found"), [(1e-30, True), (1e-20, False)])
def test_least_squares_at_the_rounding_floor(loss, found):
    spectra = xr.Dataset({"singular_value": (("step", "index"), [[10.0, 1e-3]])}, {"step": [0]}, {"rows": 100})
    tree = run({"spectra": spectra}, loss=[loss], parameter_norm=1.0)
    # 100 * 2.2e-16 * 10 * 1 / sqrt(100) = 2.2e-14, against residuals of 1e-15 and 1e-10
    assert names(tree) == ([("rounding_floor", "info")] if found else [])


def test_dominating_term():
    stuck = np.ones_like(STEP)
    (finding,) = diagnose(run(loss=stuck, raw=(1.0, 1e-3), weight=(1.0, 5.0)))
    assert (finding.name, finding.severity) == ("dominating_term", "warning")
    assert "interior" in finding.message and finding.evidence["shares"]["boundary"] == pytest.approx(5 / 1005)
    assert finding.evidence["neglected"] == ["boundary"]
    assert diagnose(run(loss=stuck, raw=(1.0, 1e-3), weight=(1.0, 20.0))) == ()
    assert diagnose(run(raw=(1.0, 1e-3), weight=(1.0, 5.0))) == (), (
        "a term that fell with the others is met, not neglected"
    )
    assert diagnose(run(loss=np.ones(9), raw=(1.0, 1e-9))) == ()


def test_a_loss_that_ends_above_its_start_is_told():
    rising = np.linspace(1.0, 50.0, 40)
    (finding,) = diagnose(run(loss=rising))
    assert (finding.name, finding.severity) == ("rising_loss", "warning")
    assert finding.evidence["lowest_step"] == 0 and finding.evidence["end"] == pytest.approx(2 * 49.4, rel=0.02)
    spiky = 1 / STEP
    spiky[-1] = 10.0
    assert diagnose(run(loss=spiky)) == (), "a single spike at the end is no trend"


def test_most_severe_first():
    loss = np.ones_like(STEP)
    loss[-1] = np.nan
    tree = run(phase_groups(), loss=loss, floor=1e-6, rel_l2=1e-7, raw=(1.0, 1e-9))
    assert [severity for _, severity in names(tree)] == ["error", "warning", "info", "info"]


def test_severity_is_checked():
    with pytest.raises(ValueError, match="error, warning, info"):
        Finding("name", "fatal", "message")
