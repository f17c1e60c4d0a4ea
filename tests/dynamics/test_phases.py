import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dynamics.phases import PHASES, detect_phases, phase_onsets
from dynamics.snr import reference_snr, snr_from_norms
from dynamics.trajectory import TrajectoryError

STEP = np.unique(np.geomspace(1, 1e5, 800).round())
SHARED = os.environ.get("PINNSCOPE_SHARED")


def curves(seed=0, before=0.03, after=2.0, diffusion=100, total=3000, decay=40000):
    """SNR and homogeneity that change at known steps, with noise."""
    generator = np.random.default_rng(seed)
    snr = np.select([STEP < diffusion, STEP < total, STEP < decay], [20.0, before, after], 0.01)
    phi = np.where(STEP < total, 0.75, 0.985)
    return snr * 10 ** (0.1 * generator.standard_normal(STEP.size)), phi - 0.003 * generator.random(STEP.size)


@pytest.mark.parametrize("seed", range(5))
def test_known_onsets(seed):
    snr, phi = curves(seed)
    found = phase_onsets(STEP, snr, STEP, phi)
    assert found.onset["fitting"] == 1 and found.reason == ""
    for name, expected in (("diffusion", 100), ("total_diffusion", 3000), ("decay", 40000)):
        assert abs(np.log10(found.onset[name] / expected)) < 0.035  # grid plus half-width of the median


def test_more_training_does_not_move_an_onset():
    snr, phi = curves(1)
    whole = phase_onsets(STEP, snr, STEP, phi).onset["total_diffusion"]
    for reach in (0.14, 0.3, 1.0):
        seen = whole * 10**reach >= STEP
        assert phase_onsets(STEP[seen], snr[seen], STEP[seen], phi[seen]).onset["total_diffusion"] == whole
    half = whole * 10**0.07 >= STEP
    assert phase_onsets(STEP[half], snr[half], STEP[half], phi[half]).onset["total_diffusion"] > 0
    early = whole * 0.9 >= STEP
    assert np.isnan(phase_onsets(STEP[early], snr[early], STEP[early], phi[early]).onset["total_diffusion"])


def test_coarser_homogeneity_log_moves_the_onset_little():
    snr, phi = curves(2)
    whole, coarse = (phase_onsets(STEP, snr, STEP[::k], phi[::k]).onset["total_diffusion"] for k in (1, 8))
    assert abs(np.log10(coarse / whole)) < 0.1


@pytest.mark.parametrize(
    ("options", "phi", "reason"),
    [
        ({"before": 0.6, "decay": 1e9}, None, "never armed"),
        ({"after": 0.3}, None, "SNR never back >= 1"),
        ({}, 0.75, "residuals not homogeneous"),
        ({"decay": 3400}, None, "not sustained"),
    ],
)
def test_says_why_there_is_no_total_diffusion(options, phi, reason):
    snr, measured = curves(**options)
    found = phase_onsets(STEP, snr, STEP, measured if phi is None else np.full(STEP.size, phi))
    assert np.isnan(found.onset["total_diffusion"]) and np.isnan(found.onset["decay"])
    assert found.reason.startswith(reason)


def test_a_single_spike_is_no_onset():
    snr, phi = curves(after=0.03)
    snr[STEP > 3000][::50] = 100.0
    assert np.isnan(phase_onsets(STEP, snr, STEP, phi).onset["total_diffusion"])


def test_later_heterogeneity_does_not_make_earlier_residuals_homogeneous():
    snr = np.where((STEP > 100) & (STEP < 1000), 0.03, 3.0)
    phi = np.select([STEP < 1000, STEP < 10000], [0.8, 0.9], 0.3)
    assert phase_onsets(STEP, snr, STEP, phi).reason.startswith("residuals not homogeneous")


def test_a_short_dip_does_not_arm():
    for decades, armed in ((0.035, False), (0.09, True)):
        snr = np.where((STEP > 1000) & (STEP < 1000 * 10**decades), 0.03, 3.0)
        found = phase_onsets(STEP, snr, STEP, np.where(STEP < 900, 0.7, 0.99))
        assert found.reason.startswith("never armed") is not armed
        assert np.isfinite(found.onset["total_diffusion"]) == armed


def test_empty_and_short_logs():
    assert phase_onsets([], [], [], []).reason.startswith("no samples")
    assert phase_onsets([1, 2], [np.nan] * 2, [1, 2], [0.5, 0.5]).reason.startswith("no samples")
    found = phase_onsets([1, 2, 40], [1.0, np.inf, 0.0], [1, 2, 40], [0.5, 0.5, 0.5])
    assert found.onset["fitting"] == 1 and found.reason.startswith("too short")
    with pytest.raises(ValueError, match="one value per step"):
        phase_onsets([1, 2], [1.0], [1], [1.0])


def tree(snr, phi, quantities=("attention", "residual"), step=STEP, **attrs):
    gradients = xr.Dataset(
        {"mean_norm_total": ("step", 3 * snr), "std_norm_total": ("step", np.full(len(snr), 3.0))},
        {"step": step},
        attrs,
    )
    cells = xr.Dataset(
        {"cell_mean": (("step", "quantity"), phi), "cell_rms": (("step", "quantity"), np.ones_like(phi))},
        {"step": step, "quantity": list(quantities)},
    )
    return xr.DataTree.from_dict({"gradients": gradients, "homogeneity": cells})


def test_analyzer_labels_every_logged_step():
    snr, phi = curves()
    result = detect_phases(tree(snr, np.stack((phi, np.full_like(phi, 0.6)), axis=1)))
    assert result.phase.values.tolist() == list(PHASES)
    assert result.phase_at_step.sel(step=[1, 500, 10000, 1e5], method="nearest").values.tolist() == list(PHASES)
    assert result.onset_low.isnull().all() and result.onset_high.isnull().all()
    total = result.sel(phase="total_diffusion")
    assert total.snr == pytest.approx(2.0, rel=0.3) and total.homogeneity == pytest.approx(0.985, abs=0.01)
    assert result.quantity == "attention" and "assumed" in result.reference and result.lo == -0.5
    assert all({"units", "long_name"} <= set(variable.attrs) for variable in result.data_vars.values())


def test_analyzer_takes_residuals_where_there_is_no_attention():
    snr, phi = curves()
    alone = detect_phases(tree(snr, phi[:, None], ["residual"]))
    empty = detect_phases(tree(snr, np.stack((np.full_like(phi, np.nan), phi), axis=1)))
    assert alone.quantity == empty.quantity == "residual"
    assert alone.onset.values.tolist() == empty.onset.values.tolist()


def test_analyzer_converts_the_block_size():
    """The same run seen through small blocks has the same onset; unconverted it would have none."""
    snr, phi = curves(after=2.0)
    measured = snr / reference_snr(1.0, 16, 1024)
    assert measured.max() < 20 and np.median(measured[(STEP > 4000) & (STEP < 30000)]) < 1
    small = detect_phases(tree(measured, phi[:, None], ["attention"], blocks=64, block_size=16, points=1024))
    assert small.onset.sel(phase="total_diffusion") == detect_phases(tree(snr, phi[:, None], ["attention"])).onset.sel(
        phase="total_diffusion"
    )
    assert "16 of 1024" in small.reference
    raw = detect_phases(tree(measured, phi[:, None], ["attention"]))
    assert np.isnan(raw.onset.sel(phase="total_diffusion"))


def test_analyzer_names_the_missing_variable():
    with pytest.raises(TrajectoryError, match="gradients/mean_norm_total"):
        detect_phases(xr.DataTree.from_dict({"series": xr.Dataset()}))


@pytest.mark.skipif(not SHARED, reason="PINNSCOPE_SHARED is not set: the authors' logs are not at hand")
@pytest.mark.parametrize(("run", "mark", "decades"), [("vanilla", 91700, 0.02), ("rba", 11100, 0.09)])
def test_published_logs(run, mark, decades):
    log = np.genfromtxt(Path(SHARED or "") / "published_runs" / f"allen_cahn_{run}.csv", delimiter=",", names=True)
    snr = snr_from_norms(log["mean_norm"], log["std_norm"])
    phi = log["rba_cell_mean"] / log["rba_cell_rms"]
    found = tree(snr, phi[:, None], ["attention"], step=log["iteration"], blocks=100, block_size=256, points=25600)
    onset = detect_phases(found).onset
    assert np.log10(onset.sel(phase="total_diffusion") / mark) == pytest.approx(decades, abs=0.005)
    assert onset.sel(phase="diffusion") == pytest.approx(150, rel=0.25)
    for every in (2, 5):
        thin = detect_phases(found.isel(step=slice(None, None, every))).onset.sel(phase="total_diffusion")
        assert abs(np.log10(thin / mark)) < 0.1
