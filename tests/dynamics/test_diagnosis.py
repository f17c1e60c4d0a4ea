"""Every rule of a diagnosis on a log made for it: it fires with the right numbers, and not where nothing is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dynamics import diagnosis
from dynamics.diagnosis import SEVERITIES, Finding, diagnose, not_judged
from dynamics.diagnosis.diagnose import EXPLAINS
from dynamics.diagnosis.late import late
from dynamics.diagnosis.log import Log
from dynamics.phases import detect_phases

STEP = np.unique(np.geomspace(1, 2e4, 500).round()).astype(int)
ROWS = len(STEP)
FALLING = 1 / STEP


def series(raw, weight=(1.0, 1.0), terms=("interior", "boundary"), **columns):
    """A log of loss terms; any further scalar is spread over the rows."""
    raw = np.asarray(raw, float)
    step = STEP if len(raw) == ROWS else np.arange(len(raw))
    weights = np.broadcast_to(np.asarray(weight, float), raw.shape)
    given = {name: ("step", np.broadcast_to(np.asarray(value, float), len(raw))) for name, value in columns.items()}
    loss = given.pop("loss", ("step", (raw * weights).sum(axis=1)))
    named = {"loss_raw": (("step", "term"), raw), "loss_weight": (("step", "term"), weights)}
    return xr.Dataset({"loss": loss, **named, **given}, {"step": step, "term": list(terms)})


def reference(residual=(0.0, 0.0), scale=(1.0, 1.0)):
    data = {"residual": (("step", "term"), [residual]), "scale": (("step", "term"), [scale])}
    return xr.Dataset(data, {"step": [0]})


def run(raw=None, groups=None, *, status="complete", reason="", dtype="float64", config=None, **columns):
    """A run whose two terms fall as 1 / step, unless told otherwise."""
    raw = np.outer(FALLING, [1.0, 1.0]) if raw is None else raw
    tree = xr.DataTree.from_dict({"series": series(raw, **columns), **(groups or {})})
    tree.dataset = tree.to_dataset().assign(status=((), np.bytes_(status)), stop_reason=((), np.bytes_(reason)))
    tree.attrs |= {"dtype": dtype, "config": json.dumps(config or {})}
    return tree


def phase_groups(total=1000):
    snr = np.select([STEP < 60, STEP < total], [20.0, 0.03], 2.1)
    phi = np.where(STEP < total, 0.75, 0.97)
    gradients = {"mean_norm_total": ("step", snr), "std_norm_total": ("step", np.ones_like(snr))}
    cells = {
        "cell_mean": (("step", "quantity"), np.tile(phi[:, None], 2)),
        "cell_rms": (("step", "quantity"), np.ones((ROWS, 2))),
    }
    return {
        "gradients": xr.Dataset(gradients, {"step": STEP}),
        "homogeneity": xr.Dataset(cells, {"step": STEP, "quantity": ["attention", "residual"]}),
    }


def layers(start, end):
    data = {"extreme": (("step", "layer"), np.array([start, end], float))}
    return {"compression": xr.Dataset(data, {"step": [0, STEP[-1]], "layer": ["1", "3"]})}


def names(tree):
    return [(finding.name, finding.severity) for finding in diagnose(tree)]


def only(tree):
    (finding,) = diagnose(tree)
    return finding


HEALTHY = {
    "update_norm": 1e-3,
    "parameter_norm": 10.0,
    "learning_rate": 1e-3,
    "rel_l2": 0.01,
    "exact_loss": FALLING,
    "held_out_loss": 2 * FALLING,
    "field_std": 0.5,
    "field_mean": 0.0,
}


def test_a_healthy_run_has_only_its_phase():
    tree = run(groups=phase_groups() | {"reference": reference()} | layers([0, 0], [0.3, 0.4]), **HEALTHY)
    finding = only(tree)
    total = detect_phases(tree).sel(phase="total_diffusion")
    onset, low, high = (float(total[name]) for name in ("onset", "onset_low", "onset_high"))
    assert (finding.name, finding.severity) == ("phase", "info")
    assert finding.message.startswith(
        f"total diffusion reached at step {onset:.0f} (between {low:.0f} and {high:.0f}; SNR 2.1, homogeneity 0.97)"
    )
    assert finding.evidence["total_diffusion_onset"] == onset == pytest.approx(1000, rel=0.1)


def test_a_run_without_gradients_or_without_anything_has_no_finding():
    assert diagnose(run(**HEALTHY)) == ()
    assert diagnose(xr.DataTree()) == ()
    assert diagnose(xr.DataTree.from_dict({"gradients": xr.Dataset(), "series": xr.Dataset()})) == ()
    assert diagnose(xr.DataTree.from_dict({"series": xr.Dataset({"loss": ("step", [])})})) == ()


def test_no_total_diffusion_is_only_remarked():
    finding = only(run(groups=phase_groups(total=1e9)))
    assert finding.severity == "info"
    assert finding.message.startswith("no total diffusion up to step 20000, in diffusion since step 61: SNR never back")


def test_diverged():
    raw = np.outer(FALLING, [1.0, 1.0])
    raw[-3:] = np.nan
    finding = only(run(raw, learning_rate=0.5, status="running"))
    assert (finding.name, finding.severity) == ("diverged", "problem")
    assert finding.evidence["step"] == STEP[-3] and finding.evidence["last_finite_step"] == STEP[-4]
    assert finding.evidence["last_finite_loss"] == 2 * FALLING[-4] and finding.evidence["learning_rate"] == 0.5


def test_diverged_to_infinity_in_between_and_by_status_alone():
    loss = FALLING.copy()
    loss[7] = np.inf
    assert diagnose(run(loss=loss))[0].evidence["step"] == STEP[7]
    loss[-1] = np.nan
    assert diagnose(run(loss=loss, status="diverged"))[0].evidence["step"] == STEP[7]
    assert only(run(status="diverged")).evidence["last_step"] == STEP[-1]
    assert diagnose(run([[np.nan, np.nan]], status="diverged"))[0].evidence["step"] == 0


def test_absent_losses_are_no_divergence():
    assert diagnose(run(loss=np.where(np.arange(ROWS) % 10 == 0, FALLING, np.nan))) == ()


def test_a_solution_that_does_not_satisfy_what_is_trained():
    finding = only(run(groups={"reference": reference((0.2, 0.01), (1.0, 0.5))}, rel_l2=1.9))
    assert (finding.name, finding.severity) == ("wrong_equation", "problem")
    assert finding.evidence == {"left_by_solution": {"interior": 0.2}} and "interior (0.2" in finding.message
    assert diagnose(run(groups={"reference": reference((0.004, np.nan), (1.0, np.nan))}, rel_l2=0.01)) == ()


def gram(cosine, norms=(5.0, 5.0), rows=20):
    matrix = np.outer(norms, norms) * np.array([[1, cosine], [cosine, 1]])
    data = {"term_gram": (("step", "term_row", "term_column"), np.tile(matrix, (rows, 1, 1)))}
    return {"gradients": xr.Dataset(data, {"step": np.arange(rows)})}


def test_terms_at_odds():
    stuck = np.full((ROWS, 2), 0.25)
    finding = only(run(stuck, gram(-0.999) | {"reference": reference(scale=(1.0, 0.5))}))
    assert (finding.name, finding.severity) == ("conflicting_terms", "problem")
    assert finding.evidence["terms"] == ["interior", "boundary"]
    assert finding.evidence["misfit"] == [0.25, 0.5] and finding.evidence["cosine"] == pytest.approx(-0.999)
    assert finding.evidence["sum"] == pytest.approx(5 * np.sqrt(2 - 2 * 0.999))


@pytest.mark.parametrize(
    ("level", "cosine", "norms"),
    [(1e-3, -0.999, (5.0, 5.0)), (0.25, -0.5, (5.0, 5.0)), (0.25, -0.99, (5.0, 3.0)), (0.25, -0.99, (5.0, 0.0))],
    ids=["both met", "not opposed", "not cancelled", "one without gradient"],
)
def test_gradients_that_cancel_are_no_conflict_by_themselves(level, cosine, norms):
    raw = np.outer(np.where(STEP < 100, 1.0, level), [1.0, 1.0])
    tree = run(raw, gram(cosine, norms) | {"reference": reference()})
    assert "conflicting_terms" not in [name for name, _ in names(tree)]


def test_two_terms_that_a_third_holds_are_not_at_odds():
    gradients = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    data = {"term_gram": (("step", "term_row", "term_column"), (gradients @ gradients.T)[None])}
    raw = np.column_stack([np.full((ROWS, 2), 0.2), np.full(ROWS, 1e-4)])
    known = {"gradients": xr.Dataset(data, {"step": [0]}), "reference": reference((0.0,) * 3, (1.0,) * 3)}
    assert diagnose(run(raw, known, terms=("interior", "boundary", "initial"), weight=(1.0, 1.0, 1.0))) == ()


def test_terms_at_odds_without_their_gradients():
    raw = np.outer(np.ones(ROWS), [1e-4, 0.3, 0.3])
    known = {"reference": reference((0.0,) * 3, (1.0,) * 3)}
    three = {"terms": ("interior", "boundary", "second"), "weight": (1.0, 1.0, 1.0)}
    assert only(run(raw, known, **three)).evidence["terms"] == ["boundary", "second"]
    falling = raw * np.where(STEP < 1000, 1.0, 0.8)[:, None]
    assert "conflicting_terms" not in [name for name, _ in names(run(falling, known, **three))]
    assert "conflicting_terms" not in [name for name, _ in names(run(raw + np.array([0.3, 0, 0]), known, **three))]


def test_a_neglected_term():
    raw = np.column_stack([FALLING, np.full(ROWS, 0.2)])
    raw[0, 1] = 0.21
    finding = only(run(raw, {"reference": reference()}, weight=(1.0, 5e-4)))
    assert (finding.name, finding.severity) == ("neglected_term", "problem")
    assert finding.evidence["neglected"] == ["boundary"] and finding.evidence["term"] == "interior"
    assert finding.evidence["heard"] == {"interior": 1.0, "boundary": 5e-4}
    assert finding.evidence["misfit"]["boundary"] == pytest.approx(0.2)
    assert "boundary" in finding.advice
    silent = only(run(raw, {"reference": reference()}, weight=(1.0, 0.0)))
    assert silent.evidence["heard"]["boundary"] == 0 and silent.advice == "give boundary a weight"
    assert diagnose(run(raw, {"reference": reference()}, weight=(1.0, 2e-3))) == (), "heard well enough"
    assert diagnose(run(raw / [1, 5], {"reference": reference()}, weight=(1.0, 5e-4))) == (), "met well enough"
    unmet = np.column_stack([np.where(STEP < 9000, 0.2, 0.1), raw[:, 1]])
    assert diagnose(run(unmet, {"reference": reference()}, weight=(1.0, 5e-4))) == (), "nothing is met yet"


def test_a_term_without_a_size_of_its_own_is_not_called_neglected():
    """As in logs of other packages: no reference, an equation without source that a fresh network nearly solves."""
    rising = np.column_stack([np.minimum(1e-5 * np.sqrt(STEP), 1e-3), FALLING])
    assert diagnose(run(rising, weight=(1.0, 100.0))) == (), "the equation rises while the condition is learnt"
    standing = np.column_stack([FALLING, np.where(STEP < 100, 1e-3, 0.1)])
    assert diagnose(run(standing, weight=(1.0, 5e-4))) == (), "a condition that may be as small as that"
    field = {"field_mean": np.where(STEP < 100, 0.0, 0.1), "field_std": 0.3}
    finding = only(run(standing, weight=(1.0, 5e-4), **field))
    assert (finding.name, finding.severity) == ("neglected_term", "problem"), "the mean square of its solution is 0.1"
    assert finding.evidence["neglected"] == ["boundary"] and finding.evidence["misfit"]["boundary"] == pytest.approx(1)
    assert diagnose(run(rising, weight=(1.0, 100.0), **field)) == (), "0.001 of the solution's size"
    tiny = np.column_stack([FALLING, np.where(STEP % 2, 1e-6, 2e-6)])
    assert diagnose(run(tiny, weight=(1.0, 1.0), **field)) == (), "it begins near zero, and stays there"
    assert names(run(tiny, weight=(1.0, 1.0))) == [("neglected_term", "problem")], "nothing tells that it is small"
    falling = np.column_stack([FALLING, np.where(STEP < 100, 0.7, 0.5)])
    assert names(run(falling, weight=(1.0, 5e-4))) == [("neglected_term", "problem")], "its start is its size"
    assert diagnose(run(falling[:99], weight=(1.0, 5e-4))) == (), "too few rows"
    three = np.column_stack([falling, np.where(STEP < 100, 1e-6, 1e-3)])
    three[:, 0] = np.geomspace(1.0, 0.1, ROWS)
    of_three = {"terms": ("interior", "boundary", "initial"), "weight": (1.0, 5e-4, 1e6)}
    assert "neglected_term" not in [name for name, _ in names(run(three, **of_three))], (
        "the heaviest has no size either"
    )


def test_a_frozen_term():
    raw = np.column_stack([FALLING, np.full(ROWS, 0.2)])
    finding = only(run(raw))
    assert (finding.name, finding.severity) == ("frozen_term", "problem")
    assert finding.evidence["frozen"] == {"boundary": 0.2} and "boundary = 0.2" in finding.message
    assert diagnose(run(raw * [1, 0])) == (), "met exactly"
    assert "frozen_term" not in [name for name, _ in names(run(np.full((ROWS, 2), 0.2)))], "nothing moves"
    raw[7, 1] *= 1 + 1e-5
    assert "frozen_term" not in [name for name, _ in names(run(raw))]


def test_a_learning_rate_that_vanished():
    rate = 1e-2 * 0.5 ** np.arange(ROWS)
    level = np.maximum(np.exp(-np.arange(ROWS) / 5), 0.3)
    finding = only(run(np.outer(level, [1.0, 1.0]), learning_rate=rate))
    assert (finding.name, finding.severity) == ("learning_rate_vanished", "problem")
    assert finding.evidence["step"] == STEP[10] and finding.evidence["misfit"] == pytest.approx(0.3)
    less, met = (np.outer(np.maximum(level - 0.3, floor), [1.0, 1.0]) for floor in (0.02, 0.002))
    assert names(run(less, learning_rate=rate)) == [("learning_rate_vanished", "warning")]
    assert names(run(less, learning_rate=rate, rel_l2=0.5)) == [("learning_rate_vanished", "problem")]
    assert diagnose(run(met, learning_rate=rate)) == (), "met all the same"
    assert names(run(np.outer(level, [1.0, 1.0]), learning_rate=1e-2)) == [("stuck", "problem")]
    late_cut = np.where(np.arange(ROWS) < 0.8 * ROWS, 1e-2, 1e-6)
    assert names(run(np.outer(level, [1.0, 1.0]), learning_rate=late_cut)) == [("stuck", "problem")]
    falling = np.maximum(np.exp(-np.arange(ROWS) / 300), 0.3)
    late_cut = run(np.outer(falling, [1.0, 1.0]), learning_rate=np.where(np.arange(ROWS) < 400, 1e-2, 1e-6))
    assert "learning_rate_vanished" not in [name for name, _ in names(late_cut)], "the last fifth"
    stood = run(np.outer(level, [1.0, 1.0]), learning_rate=np.where(np.arange(ROWS) < 200, 1e-2, 1e-6))
    assert names(stood) == [("stuck", "problem")], "it stood before"
    still = {"update_norm": 1e-20, "parameter_norm": 1.0}
    assert diagnose(run(met, learning_rate=rate, **still)) == (), "the rate makes the updates small, no rounding"


FOREIGN = {"optimizer": "LBFGS(lr=1, max_iter=500, max_eval=625, tolerance_grad=1e-07, tolerance_change=1e-09)"}


def searched(loss, gradient=0.1):
    data = {
        name: ("evaluation", np.broadcast_to(values, len(loss)))
        for name, values in {"loss": loss, "gradient_norm": gradient, "step": np.zeros(len(loss), int)}.items()
    }
    return {"evaluations": xr.Dataset(data, {"evaluation": np.arange(len(loss))})}


def test_why_a_search_of_another_loop_ended():
    raw, falling = [[1.0, 1.0], [1e-4, 1e-4]], np.geomspace(2, 2e-4, 40)
    rattling = falling.copy()
    rattling[-12:] = 2e-4 * (1 + 1e-5 * (-1.0) ** np.arange(12))
    ended = run(raw, searched(rattling), config=FOREIGN, dtype="float32", evaluations=[40.0, 40.0])
    finding = only(ended)
    assert (finding.name, finding.severity) == ("rounding_floor", "warning")
    assert "no step that lowers the loss, after 40 evaluations" in finding.message
    ended.attrs["dtype"] = "float64"
    assert names(ended) == [("stopped_early", "info")]
    slow = 2e-4 + 1e-9 * np.arange(40)[::-1] ** 2
    finding = only(run(raw, searched(slow), config=FOREIGN, dtype="float64"))
    assert finding.name == "stopped_early" and "near tolerance_change = 1e-09 after 40 eval" in finding.message
    assert names(run(raw, searched(slow), config=FOREIGN, dtype="float32", evaluations=40.0)) == [
        ("stopped_early", "info")
    ]
    assert diagnose(run(raw, searched(falling, 1e-8), config=FOREIGN)) == (), "the gradient vanished"
    assert diagnose(run(raw, searched(np.geomspace(2, 2e-4, 600)), config=FOREIGN)) == (), "iterations used up"
    assert diagnose(run(raw, searched(slow), config=FOREIGN | {"operator": {"name": "ours"}})) == (), "it tells itself"
    unmet = run([[1.0, 1.0], [0.9, 0.9]], searched(rattling), config=FOREIGN, dtype="float32", evaluations=40.0)
    assert ("rounding_floor", "problem") in names(unmet)


def test_adam_before_a_search_is_judged_by_its_own_steps():
    rows = searched(np.geomspace(2, 2e-4, 600))
    rows["evaluations"]["step"] = ("evaluation", np.full(600, STEP[-1]))
    leaping = {"update_norm": np.where(STEP < 50, 2.0, 1e-6), "parameter_norm": 10.0, "learning_rate": 0.3}
    assert names(run(UNMET, rows, **leaping))[0] == ("learning_rate_too_large", "problem")
    empty = {"evaluations": xr.Dataset({}, {"evaluation": np.arange(0)})}
    assert names(run(UNMET, empty, **leaping))[0] == ("learning_rate_too_large", "problem"), "declared, never used"


def test_the_end_of_a_run_is_what_its_last_evaluations_reached():
    raw = np.outer(np.where(np.arange(ROWS) < ROWS - 3, 0.9, 1e-6), [1.0, 1.0])
    assert names(run(raw))[0][0] in ("stuck", "unconverged")
    many = np.concatenate([np.arange(1.0, ROWS - 9), ROWS - 10 + 100 * np.arange(1.0, 11)])
    assert diagnose(run(raw, evaluations=many)) == (), "three steps of L-BFGS, half of all evaluations"


def test_the_state_after_the_last_step_may_have_no_loss():
    raw = np.outer(FALLING, [1.0, 1.0])
    raw[-1] = np.nan
    update = np.where(np.arange(ROWS) < ROWS - 1, 1e-3, np.nan)
    assert diagnose(run(raw, update_norm=update, parameter_norm=10.0, rel_l2=0.01)) == ()
    assert names(run(raw, update_norm=1e-3, parameter_norm=10.0, rel_l2=0.01)) == [("diverged", "problem")]
    assert names(run(raw, update_norm=update, rel_l2=0.01, status="diverged")) == [("diverged", "problem")]


def test_an_error_of_a_state_long_left_is_none():
    raw = np.outer(np.where(STEP < 100, 1.0, 1e-6), [1.0, 1.0])
    assert diagnose(run(raw, rel_l2=np.where(STEP < 50, 1.0, np.nan))) == (), "measured once, at the start"
    assert names(run(raw, rel_l2=np.where(STEP < 500, 1.0, np.nan))) == [("spurious_solution", "problem")]


def test_a_run_that_only_has_its_loss():
    tree = xr.DataTree.from_dict({"series": xr.Dataset({"loss": ("step", np.full(ROWS, 0.3))}, {"step": STEP})})
    finding = only(tree)
    assert (finding.name, finding.severity) == ("stuck", "problem") and "the loss stands" in finding.message
    weighted = xr.Dataset(
        {"loss_weighted": (("step", "term"), np.full((ROWS, 2), 0.3))}, {"step": STEP, "term": [*"ab"]}
    )
    assert names(xr.DataTree.from_dict({"series": weighted})) == [("stuck", "problem")]
    sparse = run(np.full((25, 2), 0.3))
    assert diagnose(sparse) == ()
    sparse["series"] = xr.DataTree(sparse["series"].to_dataset().assign_coords(step=50 * np.arange(25)))
    assert names(sparse) == [("stuck", "problem")], "25 rows of 1200 steps"


def test_a_trivial_solution():
    flat = {"field_std": np.where(STEP < 100, 0.5, 1e-3), "field_mean": 0.02}
    finding = only(run(**flat, rel_l2=1.0))
    assert (finding.name, finding.severity) == ("trivial_solution", "problem")
    assert finding.evidence["share_of_largest"] == pytest.approx(2e-3) and finding.evidence["field_mean"] == 0.02
    assert only(run(**flat)).severity == "warning", "without a solution a constant may be right"
    assert diagnose(run(**flat, rel_l2=0.01)) == (), "the solution is a constant"
    assert diagnose(run(field_std=np.where(STEP < 100, 0.5, 0.01))) == (), "0.02 of the largest, no solution known"
    assert names(run(field_std=np.where(STEP < 100, 0.5, 0.01), rel_l2=1.0)) == [("trivial_solution", "problem")]
    unmet = np.outer(np.full(ROWS, 0.9), [1.0, 1e-3])
    assert "trivial_solution" not in [name for name, _ in names(run(unmet, **flat, rel_l2=1.0))]


def test_points_fitted_alone():
    raw = np.outer(np.where(STEP < 100, 1.0, 1e-5), [1.0, 1.0])
    tree = run(raw, held_out_loss=np.where(STEP % 7, np.nan, 0.03), rel_l2=0.6)
    tree["points"] = xr.DataTree(xr.Dataset({"interior": (("point", "axis"), np.zeros((16, 2)))}))
    finding = only(tree)
    assert (finding.name, finding.severity) == ("overfitted_points", "problem")
    assert finding.evidence["held_out_loss"] == 0.03 and finding.evidence["interior_loss"] == 1e-5
    assert "the 16 interior points" in finding.message
    assert names(run(raw, held_out_loss=0.03)) == [("overfitted_points", "problem")], "no solution is needed"
    assert diagnose(run(raw, held_out_loss=5e-3)) == (), "small between the points as well"
    assert diagnose(run(10 * raw, held_out_loss=5e-3, rel_l2=0.01)) == ()
    explained = run(raw, held_out_loss=5e-3, rel_l2=0.5)
    assert names(explained) == [("overfitted_points", "problem")], "it explains the error"
    near = np.maximum(raw, 9e-3)
    assert diagnose(run(near, held_out_loss=0.085)) == (), "nine times the loss at the points"


def test_underdetermined():
    raw = np.outer(np.where(STEP < 100, 1.0, 1e-6), [1.0, 1.0])
    known = {"reference": reference()}
    finding = only(run(raw, known, rel_l2=0.5, held_out_loss=2e-6))
    assert (finding.name, finding.severity) == ("underdetermined", "problem")
    assert finding.evidence["rel_l2"] == 0.5 and finding.evidence["misfit"] == pytest.approx(np.sqrt(2e-6))
    assert "trained are interior, boundary" in finding.advice
    assert diagnose(run(raw, known, rel_l2=0.05)) == (), "an error that is no failure"
    assert diagnose(run(1e3 * raw, known, rel_l2=0.5)) == (), "the loss explains the error: train on"


def test_a_spurious_solution_by_its_error_and_by_its_residual():
    raw = np.outer(np.where(STEP < 100, 1.0, 1e-6), [1.0, 1.0])
    assert names(run(raw, rel_l2=0.5)) == [("spurious_solution", "problem")], "nothing is known of the reference"
    patchy = phase_groups(1e9)["homogeneity"].copy(deep=True)
    patchy["cell_mean"].values[STEP > 1e4, 1] = 0.2
    finding = only(run(raw, {"homogeneity": patchy}))
    assert (finding.name, finding.severity) == ("spurious_solution", "warning")
    assert finding.evidence["homogeneity"] == pytest.approx(0.2) and finding.evidence["best"] == pytest.approx(0.75)
    assert diagnose(run(raw, {"homogeneity": patchy}, rel_l2=0.01)) == (), "the solution says that it is right"
    always = patchy.copy(deep=True)
    always["cell_mean"].values[:, 1] = 0.25
    assert diagnose(run(raw, {"homogeneity": always})) == (), "it has not gathered, it was always there"
    patchy["cell_mean"].values[STEP > 1e4, 1] = 0.35
    assert diagnose(run(raw, {"homogeneity": patchy})) == ()


def test_at_the_operators_floor():
    exact = np.full(ROWS, np.nan)
    exact[::100] = 1e-2
    last = STEP[np.arange(0, ROWS, 100)[-1]]
    finding = only(run(exact_loss=exact))
    assert (finding.name, finding.severity) == ("operator_floor", "warning")
    assert finding.evidence == {"step": last, "loss": 1 / last, "exact_loss": 1e-2}
    assert diagnose(run(exact_loss=9 * FALLING)) == ()
    assert diagnose(run(exact_loss=0.6 * FALLING)) == ()
    noisy = only(run(exact_loss=0.4 * FALLING))
    assert (noisy.name, noisy.severity) == ("operator_floor", "warning") and "noise" in noisy.message


def differences(roundoff, exact=False):
    return {"operator": {"name": "FiniteDifference", "exact": exact, "roundoff": {"xx": roundoff, "yy": 1e-9}}}


EVALUATED = {"evaluations": xr.Dataset({"loss": ("evaluation", [1.0])})}


def test_stopped_by_the_noise_of_differences():
    stopped = {"groups": EVALUATED, "reason": "step below tolerance_change = 1e-09"}
    finding = only(run(**stopped, config=differences(0.05), exact_loss=FALLING))
    assert (finding.name, finding.severity) == ("operator_floor", "problem")
    assert finding.evidence["roundoff"] == 0.05 and "interior loss with exact derivatives 5.0e-05" in finding.message
    assert names(run(**stopped, config=differences(1e-9))) == [("stopped_early", "info")]
    converged = {"groups": EVALUATED, "reason": "gradient below tolerance_grad = 1e-07"}
    assert diagnose(run(**converged, config=differences(0.05))) == ()
    assert diagnose(run(config=differences(0.05))) == (), "it ran to the end"


def test_updates_lost_to_rounding():
    assert names(run(update_norm=5e-7, parameter_norm=10.0, dtype="float32")) == [("rounding_floor", "warning")]
    assert names(run(update_norm=5e-7, parameter_norm=10.0, dtype="torch.float32")) == [("rounding_floor", "warning")]
    assert diagnose(run(update_norm=5e-7, parameter_norm=10.0, dtype="float64")) == ()
    assert diagnose(run(update_norm=5e-7, parameter_norm=10.0, dtype="int3")) == ()
    sparse = np.full(ROWS, np.nan)
    sparse[-4:] = 0.0
    assert diagnose(run(update_norm=sparse, parameter_norm=10.0)) == ()


def test_a_line_search_that_ended_in_rounding_or_before_convergence():
    reason = "no descent left: directional derivative above -tolerance_change = 1e-09"
    stopped = {"groups": EVALUATED, "reason": reason}
    finding = only(run(**stopped, dtype="float32"))
    assert (finding.name, finding.severity) == ("rounding_floor", "warning") and reason in finding.message
    assert finding.evidence["loss"] == 2 * FALLING[-1]
    assert names(run(**stopped)) == [("stopped_early", "info")]
    unmet = np.outer(np.where(STEP < 100, 1.0, 0.02), [1.0, 1.0])
    assert names(run(unmet, **stopped)) == [("stopped_early", "warning")]
    assert diagnose(run(groups=EVALUATED, reason="gradient below tolerance_grad = 1e-07", dtype="float32")) == ()
    assert diagnose(run(groups=EVALUATED, reason="left after step 7", status="interrupted", dtype="float32")) == ()


@pytest.mark.parametrize(("loss", "found"), [(1e-30, True), (1e-20, False)])
def test_least_squares_at_the_rounding_floor(loss, found):
    spectra = xr.Dataset({"singular_value": (("step", "index"), [[10.0, 1e-3]])}, {"step": [0]}, {"rows": 100})
    tree = run([[loss, 0.0]], {"spectra": spectra}, parameter_norm=1.0)
    # 100 * 2.2e-16 * 10 * 1 / sqrt(100) = 2.2e-14, against residuals of 1e-15 and 1e-10
    assert names(tree) == ([("rounding_floor", "info")] if found else [])


def test_at_the_references_floor():
    rel_l2 = np.full(ROWS, 0.1)
    rel_l2[-2:] = 2.5e-6, np.nan
    floor = {"problem": {"name": "p", "solution_floor": 1e-6}}
    finding = only(run(config=floor, rel_l2=rel_l2))
    assert (finding.name, finding.severity) == ("reference_floor", "info")
    assert "at the reference's floor" in finding.message and "<= 1.0e-06" in finding.message
    assert "2.5" not in finding.message and finding.evidence["step"] == STEP[-2]
    assert diagnose(run(config=floor, rel_l2=3.1e-6)) == ()
    assert diagnose(run(config={"problem": {"solution_floor": None}}, rel_l2=1e-20)) == ()


def test_an_error_that_the_discretisation_has_by_itself():
    own = {"discretisation": {"rel_l2": 5.8e-6, "seconds": 0.1, "iterations": 2}}
    error = np.full(ROWS, 1e-5)
    error[-1] = np.nan
    finding = only(run(config=own, rel_l2=error))
    assert (finding.name, finding.severity) == ("discretisation_floor", "info")
    assert "the error is the discretisation's: relative L2 error 1.0e-05" in finding.message
    assert "5.8e-06" in finding.message and finding.advice == "more nodes or a higher order, not more training"
    assert finding.evidence == {"step": STEP[-2], "rel_l2": 1e-5, "discretisation": 5.8e-6, "factor": 2.0}
    assert names(run(config=own, rel_l2=1e-6)) == [("discretisation_floor", "info")], "below is lucky, not better"
    known = own | {"problem": {"solution_floor": 4e-6}}
    assert names(run(config=known, rel_l2=1e-5)) == [("reference_floor", "info")], "which of the two cannot be told"
    assert diagnose(run(config=own, rel_l2=1.17e-5)) == ()
    assert diagnose(run(config={"discretisation": {"seconds": 1.0}}, rel_l2=1e-9)) == ()
    assert diagnose(run(config=own)) == ()


UNMET = np.outer(np.where(STEP < 10, 2.0, 0.9), [1.0, 1e-3])


def test_steps_as_large_as_the_parameters():
    leaping = {"update_norm": np.where(STEP < 50, 2.0, 1e-6), "parameter_norm": 10.0, "learning_rate": 0.3}
    finding = only(run(UNMET, layers([0, 0], [1, 1]), **leaping))
    assert (finding.name, finding.severity) == ("learning_rate_too_large", "problem")
    assert finding.evidence["relative_update"] == pytest.approx(0.2) and finding.evidence["learning_rate"] == 0.3
    assert diagnose(run(**leaping)) == (), "the run recovered"
    small = leaping | {"update_norm": np.where(STEP < 50, 0.4, 1e-6)}
    assert names(run(UNMET, **small)) == [("stuck", "problem")]
    assert names(run(UNMET, EVALUATED, **leaping)) == [("stuck", "problem")], "a line search chooses its steps"


def test_spikes():
    raw = np.outer(FALLING, [1.0, 1.0])
    raw[[250, 251, 280, 310]] *= 20
    raw[310] *= 2
    finding = only(run(raw, learning_rate=0.01))
    assert (finding.name, finding.severity) == ("learning_rate_too_large", "warning")
    assert finding.evidence["spikes"] == 3 and finding.evidence["largest_step"] == STEP[310]
    raw[310] /= 40
    assert diagnose(run(raw)) == (), "two may be chance"
    early = np.outer(FALLING, [1.0, 1.0])
    early[[30, 60, 90]] *= 20
    assert diagnose(run(early)) == ()
    low = np.outer(FALLING, [1.0, 1.0])
    low[[250, 280, 310]] *= 5
    assert diagnose(run(low)) == ()


def test_saturated_layers():
    finding = only(run(UNMET, layers([0.1, 0.8], [0.2, 0.7])))
    assert (finding.name, finding.severity) == ("saturated_layer", "problem")
    assert finding.evidence["layers"] == ["3"] and finding.evidence["from_start"] is True
    assert "saturated from the start" in finding.message
    assert names(run(UNMET, layers([0.1, 0.2], [0.2, 0.7]))) == [("stuck", "problem"), ("saturated_layer", "warning")]
    assert names(run(UNMET, layers([0.8, 0.8], [0.2, 0.4]))) == [("stuck", "problem")], "it has come free"
    assert diagnose(run(groups=layers([0.8, 0.8], [0.8, 0.8]), rel_l2=0.01)) == (), "and learnt all the same"
    assert diagnose(run(groups=layers([0.1, 0.1], [0.8, 0.8]))) == ()
    assert names(run(groups=layers([0.8, 0.8], [0.8, 0.8]))) == [("saturated_layer", "warning")], "nothing else tells"


def test_stuck_and_unconverged():
    snr = {"mean_norm_total": ("step", np.full(ROWS, 0.02)), "std_norm_total": ("step", np.ones(ROWS))}
    finding = only(run(UNMET, {"gradients": xr.Dataset(snr, {"step": STEP})}))
    assert (finding.name, finding.severity) == ("stuck", "problem")
    assert finding.evidence["snr"] == pytest.approx(0.02) and "SNR 2.0e-02" in finding.message
    falling = np.outer(np.geomspace(2.0, 0.6, ROWS), [1.0, 1e-3])
    assert names(run(falling)) == [("unconverged", "warning")]
    assert diagnose(run(falling * np.geomspace(1, 0.5, ROWS)[:, None])) == (), "0.15 of its start"
    assert diagnose(run(UNMET[:19])) == (), "too short to say"


def test_a_loss_that_ends_above_its_start_is_told():
    rising = np.outer(np.linspace(1.0, 50.0, 120), [1.0, 1e-3])
    assert names(run(rising)) == [("stuck", "problem")], "which explains that it rose"
    assert names(run(rising[::3])) == [("rising_loss", "warning")], "40 steps are too few to be stuck"
    short = np.outer(np.linspace(1.0, 50.0, 10), [1.0, 1.0])
    told = only(run(short))
    assert (told.name, told.severity) == ("rising_loss", "warning")
    assert told.evidence["lowest_step"] == 0 and told.evidence["end"] == pytest.approx(2 * np.linspace(1, 50, 10)[-3])
    spiky = np.outer(FALLING, [1.0, 1.0])
    spiky[-1] = 10.0
    assert diagnose(run(spiky)) == (), "a single spike at the end is no trend"


def cut(snr_after, loss_after, uncut=1.0):
    one = {"snr_before": 2.0, "snr_after": snr_after, "snr_uncut": 2.0, "mean_norm_before": 1.0}
    one |= {"mean_norm_after": snr_after / 2, "loss_before": 1.0, "loss_after": loss_after, "loss_uncut": uncut}
    one |= {"rate": 1e-2, "sharpness": 1.0, "preconditioned_sharpness": 1.0, "stability_limit": 1.0}
    return {"lr_cut": xr.Dataset({name: ("step", [value]) for name, value in one.items()}, {"step": [700]})}


def test_oscillation_after_a_cut_of_the_rate():
    finding = only(run(groups=cut(0.02, 0.8)))
    assert (finding.name, finding.severity) == ("oscillation", "info")
    assert finding.evidence["step"] == 700 and finding.evidence["snr_ratio"] == pytest.approx(0.01)
    assert diagnose(run(groups=cut(1.9, 0.99))) == ()
    assert diagnose(run(groups={"lr_cut": xr.Dataset({"rate": ("step", [1e-2])}, {"step": [7]})})) == ()


def test_a_cause_hides_what_it_explains_and_the_most_severe_comes_first():
    floor = {"problem": {"solution_floor": 1e-6}}
    tree = run(np.full((ROWS, 2), 0.9), gram(-1.0) | {"reference": reference((0, 3.2))}, config=floor, rel_l2=1e-7)
    assert names(tree) == [
        ("conflicting_terms", "problem"),
        ("wrong_equation", "problem"),
        ("reference_floor", "info"),
    ]
    spectra = xr.Dataset({"singular_value": (("step", "index"), [[10.0]])}, {"step": [0]}, {"rows": 100})
    tree = run([[1e-30, 0.0]], EVALUATED | {"spectra": spectra}, parameter_norm=1.0, reason="step below tolerance")
    assert names(tree) == [("stopped_early", "warning"), ("rounding_floor", "info")], "what is remarked hides nothing"
    tree = run(UNMET, EVALUATED, reason="step below tolerance", config=differences(0.05), dtype="float32")
    assert names(tree) == [("operator_floor", "problem")]


def test_what_explains_and_is_explained_are_names_of_findings():
    folder = Path(diagnosis.__file__).parent
    source = "".join(file.read_text() for file in folder.glob("*.py"))
    for name in {*EXPLAINS, *set().union(*EXPLAINS.values())}:
        assert f'Finding("{name}"' in source, name


def test_the_end_of_a_run_is_its_last_twentieth_without_gaps():
    values = np.concatenate([np.full(95, 7.0), [1.0, 2.0, np.nan, 3.0, 9.0]])
    assert late(values) == 2.5 and late(np.arange(200.0)) == 194.5
    assert np.isnan(late(np.full(4, np.nan)))
    assert late(np.ones((4, 2))).tolist() == [1.0, 1.0]


def test_a_log_reads_what_there_is():
    log = Log(run(np.outer(FALLING, [4.0, 2.0]), rel_l2=np.where(STEP > 100, np.nan, 0.3)))
    assert log.last("rel_l2") == (100, 0.3) and log.last("held_out_loss") is None and log.column("rel_l2") is not None
    assert log.terms.scale.tolist() == [4.0, 2.0] and np.isnan(log.terms.wrong).all()
    assert log.terms.misfit == pytest.approx(np.full(2, late(FALLING)))
    leaping = np.outer(FALLING, [4.0, 2.0])
    leaping[3], leaping[0, 1] = 1e6, 1e-3
    assert Log(run(leaping)).terms.scale == pytest.approx([4.0, np.median(leaping[: ROWS // 10, 1])])
    nothing = Log(xr.DataTree())
    assert nothing.terms is None and nothing.last_step == -1 and nothing.status == "" and nothing.precision is None


def whole(phases=True):
    groups = (
        (phase_groups() if phases else {})
        | {"reference": reference()}
        | layers([0.8, 0], [0.8, 0])
        | cut(0.02, 0.8)
        | EVALUATED
    )
    return run(np.full((ROWS, 2), 0.3), groups, reason="step below tolerance", config=differences(0.05), **HEALTHY)


PARTS = [f"{group}/{name}" for group in whole().children for name in whole()[group].data_vars]


@pytest.mark.parametrize("part", PARTS)
def test_any_part_of_a_log_may_be_missing_or_unknown(part):
    group, name = part.split("/")
    phases = group in ("gradients", "homogeneity")
    tree = whole(phases)
    tree[group] = xr.DataTree(tree[group].to_dataset().drop_vars(name))
    assert diagnose(tree)
    for value in (np.nan, 0.0):
        tree = whole(phases)
        tree[part] = xr.full_like(tree[part], value)
        for finding in diagnose(tree):
            assert finding.message and finding.severity in SEVERITIES


@pytest.mark.parametrize("rows", range(4))
def test_a_log_may_have_only_just_begun(rows):
    cut_off = {
        name: group.to_dataset().isel(step=slice(0, rows)) if "step" in group.dims else group.to_dataset()
        for name, group in whole().children.items()
    }
    tree = xr.DataTree.from_dict(cut_off)
    tree.attrs |= whole().attrs
    assert all(finding.message for finding in diagnose(tree))


def test_repeated_and_decreasing_steps():
    tree = run(np.full((ROWS, 2), 0.3), phase_groups(), **HEALTHY)
    for name, group in list(tree.children.items()):
        tree[name] = xr.DataTree(group.to_dataset().assign_coords(step=np.arange(ROWS) % 40))
    assert all(finding.message for finding in diagnose(tree))


def test_severity_is_checked():
    assert SEVERITIES == ("problem", "warning", "info")
    with pytest.raises(ValueError, match="problem, warning, info"):
        Finding("name", "error", "message")


def test_what_was_not_recorded_is_said_to_be_not_judged():
    everything = run(groups=phase_groups() | {"reference": reference()} | layers([0, 0], [0.3, 0.4]), **HEALTHY)
    assert set(not_judged(everything)) == {"conflicting terms"}
    assert not_judged(run(**HEALTHY))["saturated layers"] == "no compression/extreme"
    short = run(np.outer(FALLING[:30], [1.0, 1.0]))
    assert not_judged(short)["stuck and unconverged runs"] == "30 steps, 100 are needed"
    foreign = not_judged(run(weight=(np.nan, np.nan), config=FOREIGN))
    assert (
        foreign["trivial solutions"] == "no series/field_std: points=" and "watched.terms" in foreign["neglected terms"]
    )
    assert not_judged(run())["trivial solutions"] == "no series/field_std"
    unknown = layers([np.nan, np.nan], [np.nan, np.nan])
    assert "saturated layers" in not_judged(run(groups=unknown))


def test_terms_found_at_odds_by_their_values_are_not_said_to_be_not_judged():
    raw, known = np.outer(np.ones(ROWS), [1e-4, 0.3, 0.3]), {"reference": reference((0.0,) * 3, (1.0,) * 3)}
    three = {"terms": ("interior", "boundary", "second"), "weight": (1.0, 1.0, 1.0)}
    assert only(run(raw, known, **three)).name == "conflicting_terms"
    assert "conflicting terms" not in not_judged(run(raw, known, **three))
    assert "conflicting terms" in not_judged(run(raw * FALLING[:, None], known, **three))


@pytest.mark.parametrize(("config", "told"), [({}, "attention"), ({"attention": {"gamma": 0.999}}, None)])
def test_attention_is_not_advised_where_it_is_in_use(config, told):
    tree = run(groups=phase_groups(), **HEALTHY)
    tree.attrs["config"] = json.dumps({**json.loads(tree.attrs["config"]), **config})
    gradients = tree["gradients"].to_dataset()
    tree["gradients"] = xr.DataTree(gradients.assign(mean_norm_total=0.01 * gradients.std_norm_total))
    finding = only(tree)
    assert finding.name == "phase" and finding.advice.startswith("train longer")
    assert ("attention" in finding.advice) is (told is not None)
