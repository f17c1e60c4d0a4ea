"""The claims of n-TangentProp: each rule can come out each way, losses are what they say, the reproduction runs."""

import gc
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn
from typer.testing import CliRunner

from analyses.cli import app
from analyses.reproduce import n_tangentprop, n_tangentprop_runtimes, n_tangentprop_spectra
from analyses.reproduce.chebyshev_profile import ChebyshevProfile
from analyses.reproduce.claims import FAILS, HOLDS, UNDECIDED
from analyses.reproduce.n_tangentprop_ablation import FORMULATIONS, ablation, ablation_rows
from analyses.reproduce.n_tangentprop_end_to_end import end_to_end
from analyses.reproduce.n_tangentprop_gains import by_order, gains, left_out
from analyses.reproduce.n_tangentprop_history import history, snapshots
from analyses.reproduce.n_tangentprop_profile_claims import baseline_claims, profile_claims, replay_claims
from analyses.reproduce.n_tangentprop_profiles import Found, Protocol
from analyses.reproduce.n_tangentprop_published import published_network, published_points, published_problem
from analyses.reproduce.n_tangentprop_replay import Replay, replay
from analyses.reproduce.n_tangentprop_runtime_claims import growth, runtime_claims
from analyses.reproduce.n_tangentprop_runtimes import Runtime, Setting, measure_runtimes
from analyses.reproduce.n_tangentprop_settings import (
    BATCH,
    FULL,
    FUSED,
    NESTED,
    PARTITIONS,
    QUICK,
    STANDARD,
    Runtimes,
    Size,
)
from analyses.reproduce.n_tangentprop_settings import (
    FORMULATIONS as ROWS,
)
from analyses.reproduce.n_tangentprop_training import Trained, interval, trained
from solvers.objective import Objective
from solvers.operators import TangentProp
from solvers.optimizers import SSBroyden

ROUNDS = 3
SHAPES, BATCHES = (STANDARD, (3, 128)), (32, BATCH, 1024)


def times(method, shape, batch, order, change):
    """Forward and backward milliseconds: nested 3^n, fused n, the paper's sums n^1.2 above nested at first."""
    forward, backward = {
        NESTED: (3.0**order, 3.0**order),
        FUSED: (4 + order, 5.0 + order),
        PARTITIONS: (12 * (1 + order) ** 1.2, 15 * (1 + order) ** 1.2),
    }[method]
    slower = 1 + (batch / 1024 + shape[1] / 256) * (method != NESTED)
    forward, backward = forward * slower, backward * slower
    return change(method, shape, batch, order, forward, backward)


def world(change=lambda method, shape, batch, order, forward, backward: (forward, backward), difference=1e-15):
    """Records of every setting; rounds are 1 % apart."""
    records = []
    for method in (NESTED, FUSED, PARTITIONS):
        for shape in SHAPES:
            for batch in BATCHES:
                for order in range(10) if (shape, batch) == (STANDARD, BATCH) else (1, 3, 6):
                    pair = times(method, shape, batch, order, change)
                    drift = [1 + 0.01 * number for number in range(ROUNDS)]
                    columns = ([value * each for each in drift] for value in (pair[0], 0.1, pair[1]))
                    records.append(Runtime(Setting(method, shape, batch, order), *columns, difference))
    return records


def verdicts(records):
    return {claim.key["claim"]: claim.verdict for claim in runtime_claims(records)}


def times_by(which, factor):
    """Change one method's passes."""

    def change(method, shape, batch, order, forward, backward):
        if method != which:
            return forward, backward
        scale = factor(shape, batch, order)
        scale = scale if isinstance(scale, tuple) else (scale, scale)
        return forward * scale[0], backward * scale[1]

    return change


@pytest.mark.parametrize(
    ("key", "fails"),
    [
        ("exponential", times_by(NESTED, lambda s, b, n: (n + 1) ** 2 / 3.0**n)),
        ("quasilinear-fused", times_by(FUSED, lambda s, b, n: (1 + n) ** 2)),
        ("quasilinear-sums", times_by(PARTITIONS, lambda s, b, n: 1 + n)),
        ("forward-fused", times_by(FUSED, lambda s, b, n: (2.0, 1.0))),
        ("forward-sums", times_by(PARTITIONS, lambda s, b, n: (2.0, 1.0))),
        ("low-backward-sums", times_by(PARTITIONS, lambda s, b, n: (1.0, 1e-2))),
        ("low-total-sums", times_by(PARTITIONS, lambda s, b, n: 1e-2)),
        ("batch-fused", times_by(FUSED, lambda s, b, n: 1 / b)),
        ("batch-sums", times_by(PARTITIONS, lambda s, b, n: 1 / b)),
        ("width-fused", times_by(FUSED, lambda s, b, n: 1 / s[1])),
        ("width-sums", times_by(PARTITIONS, lambda s, b, n: 1 / s[1])),
        ("three-fused", times_by(FUSED, lambda s, b, n: 1e6)),
        ("three-sums", times_by(PARTITIONS, lambda s, b, n: 1e6)),
    ],
)
def test_each_rule_on_runtimes_comes_out_each_way(key, fails):
    holding = world(times_by(PARTITIONS, lambda s, b, n: 0.1 if n >= 3 else 1.0)) if key == "three-sums" else world()
    assert verdicts(holding)[key] == HOLDS
    assert verdicts(world(fails))[key] == FAILS
    few = [replace(record, **{name: getattr(record, name)[:2] for name in ("forward", "loss", "backward")})
           for record in holding]  # fmt: skip
    assert verdicts(few)[key] == UNDECIDED


def test_autodiff_that_wins_at_low_orders_is_seen_for_our_recurrences_too():
    assert verdicts(world())["low-backward-fused"] == HOLDS
    assert verdicts(world(times_by(FUSED, lambda s, b, n: 1e-2)))["low-backward-fused"] == FAILS
    assert verdicts(world(difference=1e-9))["same-gradient"] == FAILS
    assert verdicts(world())["same-gradient"] == HOLDS
    assert set(verdicts([]).values()) == {UNDECIDED}


def test_growth_tells_an_exponential_from_a_power_law():
    def made(law):
        return [Runtime(Setting("m", STANDARD, BATCH, n), [law(n)], [0.0], [0.0]) for n in range(1, 9)]

    factor, _, misfit = growth(made(lambda n: 2.5**n), "total")[0]
    assert factor == pytest.approx(2.5) and misfit > 1e3
    _, power, misfit = growth(made(lambda n: 7 * n**1.3), "total")[0]
    assert power == pytest.approx(1.3) and misfit < 1e-3
    # Orders 1 and 2 are not fitted.
    flat = made(lambda n: 100.0 if n < 3 else 2.0**n)
    assert growth(flat, "total")[0][0] == pytest.approx(2.0)
    assert growth(flat[:4], "total") == []


TINY = Runtimes(orders=(0, 1, 3), depths=(3,), widths=(24, 32), batches=(8,), grid_orders=(1, 3), rounds=2)


def test_every_setting_is_timed_in_parts_and_orders_out_of_reach_are_named(monkeypatch):
    monkeypatch.setattr(n_tangentprop_runtimes, "LEAST_S", 1e-4)
    records = measure_runtimes(replace(TINY, orders=(0, 1, 3, 4, 9), patience=0.12))
    nested = [record.setting.order for record in by_order(records, NESTED)]
    assert nested[:3] == [0, 1, 3] and 9 not in nested
    assert by_order(records, FUSED)[-1].setting.order == 9
    assert any("order 9: predicted" in line and "above 0.12 s" in line for line in left_out(records, NESTED))
    assert left_out(records, FUSED) == []
    for record in records:
        assert len(record.forward) == len(record.backward) == (0 if record.skipped else 2)
    standard = [r for r in records if (r.setting.shape, r.setting.batch) == (STANDARD, BATCH) and not r.skipped]
    assert all(record.difference < 1e-13 for record in standard) and gc.isenabled()
    assert standard[0].total[0] == pytest.approx(standard[0].forward[0] + standard[0].loss[0] + standard[0].backward[0])
    grid = gains(records, FUSED, "total", (3, 32), 8)
    assert sorted(grid) == [1, 3] and all(ratio > 0 for ratios in grid.values() for ratio in ratios)
    assert len({record.setting for record in records}) == len(records)


def test_graphs_that_would_fill_the_memory_are_not_built():
    wide = Setting(NESTED, (7, 128), 4096, 8)
    assert "predicted" in n_tangentprop_runtimes._beyond(wide, [], math.inf)
    assert "GiB" in n_tangentprop_runtimes._beyond(wide, [], math.inf)
    assert n_tangentprop_runtimes._beyond(replace(wide, method=FUSED), [], math.inf) == ""


class Sum(nn.Module):
    """a sin(b x) + c x: derivatives in closed form."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Parameter(torch.tensor(v, dtype=torch.float64)) for v in (-0.6, 0.7, -0.2))

    def forward(self, x):
        return self.a * torch.sin(self.b * x) + self.c * x

    def derivative(self, x, j):
        a, b, c = (float(p.detach()) for p in (self.a, self.b, self.c))
        line = c * x if j == 0 else c if j == 1 else 0.0
        return a * b**j * np.sin(b * x + j * np.pi / 2) + line


@pytest.mark.parametrize(("k", "order"), [(0, None), (1, None), (3, None), (2, 3)])
def test_published_loss_is_the_formula_with_leibniz_derivatives(k, order):
    problem, network = published_problem(k, order), Sum()
    points = published_points(problem)
    objective = Objective(problem, network, TangentProp(), points)
    lam, m = sum(interval(k)) / 2, order or 2 * k + 3

    def residual(x, j):
        """R^(j) by the product rule."""
        u = [network.derivative(x, i) for i in range(j + 2)]
        product = sum(math.comb(j, i) * u[i] * u[j - i + 1] for i in range(j + 1))
        return -lam * u[j] + (1 + lam) * (x * u[j + 1] + j * u[j]) + product

    x, near = points.interior[:, 0].numpy(), np.linspace(-0.075, 0.075, 31)
    assert len(x) == 301 and abs(np.diff(x) - np.diff(x)[0]).max() < 1e-12
    expected = 0.3 * np.mean(residual(x, 0) ** 2) + 0.3 * np.mean(residual(x, 1) ** 2)
    expected += 0.2 * np.mean(residual(near, m) ** 2)
    expected += (network.derivative(-2.0, 0) - 1) ** 2 + (network.derivative(2.0, 0) + 1) ** 2
    assert float(objective(objective.vector).value.detach()) * 0.3 == pytest.approx(expected, rel=1e-11)


def test_replay_reads_parameters_back_and_both_operators_agree(tmp_path):
    problem = published_problem(0)
    path = tmp_path / "run.h5"
    run = trained(
        "short", problem, published_network(0), SSBroyden(), 60, seed=0, points=published_points(problem), path=path
    )
    steps, vectors = snapshots(path)
    assert steps.tolist() == [0, 50, 60] and not np.array_equal(vectors[0], vectors[1])
    course = history(path)
    assert course.steps[-1] == 60 and course.lam[-1] == pytest.approx(run.lam) and course.loss[0] > 10 * run.loss
    assert course.evaluations[-1] == run.evaluations > 60
    found = replay(path, 0, 2)
    assert found.losses == pytest.approx([course.loss[0], course.loss[-1]], rel=1e-9)
    assert found.steps == [0, 60] and max(found.rounding) < 1e-11 and max(found.loss_differences) < 1e-9
    assert all(own < other for own, other in zip(found.rounding, found.gradient_differences, strict=True)) or (
        max(found.gradient_differences) < 1e-14
    )
    assert len(found.plain_residual) == 2 and found.plain_ratio < found.ratio
    assert found.ratio == pytest.approx(sum(found.nested) / sum(found.fused)) and found.ratio > 1.2


def test_end_to_end_runs_take_the_same_path_and_tell_the_optimizers_share():
    ends = end_to_end(0, 4)
    assert [(each.optimizer, each.operator) for each in ends] == [
        ("Adam", NESTED), ("Adam", FUSED), ("L-BFGS", NESTED), ("L-BFGS", FUSED)
    ]  # fmt: skip
    for nested, fused in (ends[:2], ends[2:]):
        assert nested.loss == pytest.approx(fused.loss, rel=1e-9) and nested.evaluations == fused.evaluations >= 3
        assert 0 < nested.share < fused.share < 1 and nested.seconds > fused.seconds


@pytest.mark.parametrize("k", [0, 1])
def test_formulations_ask_for_what_their_labels_say(k):
    m, orders = 2 * k + 3, {}
    for formulation in FORMULATIONS:
        problem = formulation.problem(k)
        coefficient = problem.coefficients[0]
        assert coefficient.how == formulation.lam and (coefficient.low, coefficient.high) == interval(k)
        smooth = [c for c in problem.conditions if c.name == "smoothness"]
        highest = max(map(len, smooth[0].partials)) - 1 if smooth else 0
        orders[formulation.orders] = (highest, problem.settings["orders"] if smooth else ())
    assert orders["no order"] == (0, ())
    assert orders["m alone / m!"] == orders["m alone, as published"] == (m, (m,))
    assert orders["1 .. m"] == (m, tuple(range(1, m + 1)))
    assert orders["1 .. m + 2"] == (m + 2, tuple(range(1, m + 3)))
    assert orders["3 alone, as in the author's code"] == (3, (3,))
    assert not FORMULATIONS[1].problem(k).settings["normalised"] and FORMULATIONS[3].problem(k).settings["normalised"]


def test_ablation_trains_every_formulation_and_its_table_counts():
    said = []
    runs = ablation((0,), (0,), 2, widths=(4,), progress=said.append)
    assert [run.label for run in runs] == [formulation.label for formulation in FORMULATIONS]
    assert len(said) == len(FORMULATIONS) == ROWS and all(run.steps == 2 for run in runs)
    assert len({run.label for run in runs}) == len(FORMULATIONS)
    rows = ablation_rows([replace(runs[0], lam=0.5), replace(runs[0], lam=1.0, seed=1), runs[1]])
    assert rows[0][:2] == (runs[0].label, "1/2") and "found: 0e+00" in rows[0][2] and "upper end: 5e-01" in rows[0][2]


def run_of(label="r", k=0, seed=0, lam=0.5, u_error=1e-9, loss=1e-12):
    return Trained(label, k, seed, lam, u_error, loss, 10, 20, 1.0)


def test_endings_are_told_by_where_lambda_is():
    low, high = interval(1)
    assert run_of(k=1, lam=0.25 + 5e-5).ending == "found" and run_of(k=1, lam=0.2502).ending == "between"
    assert run_of(k=1, lam=high - 1e-3).ending == "upper end" and run_of(k=1, lam=low + 1e-3).ending == "lower end"


def found_profiles(lam_error=1e-12, bar=1e-11, accepted=True, seeds=3):
    return [
        Found(k, seed, accepted, bar, lam_error, 1e-6, 1e-9, 300, 1.0, 1) for k in range(4) for seed in range(seeds)
    ]


def protocols(start=0.02, adam=0.019, lam_error=1e-4, u_error=0.2, seeds=3):
    return [
        Protocol(run_of(k=k, seed=seed, lam=1 / (2 * k + 2) + lam_error, u_error=u_error), start, adam)
        for k in range(4)
        for seed in range(seeds)
    ]


@pytest.mark.parametrize(
    ("key", "found", "runs"),
    [
        ("better", {"lam_error": 1e-1}, {}),
        ("accepted", {"bar": 1e-13}, {}),
        ("accepted", {"accepted": False}, {}),
        ("adam-fails", {}, {"adam": 1e-4}),
        ("sharp", {}, {"lam_error": 0.01}),
        ("first-three", {}, {"lam_error": 0.01}),
        ("fourth", {}, {"u_error": 1e-6}),
    ],
)
def test_each_rule_on_profiles_comes_out_each_way(key, found, runs):
    def verdict(found, runs):
        rows = profile_claims(found_profiles(**found), protocols(**runs), (15_000, 30_000))
        return next(row for row in rows if row.key["claim"] == key)

    assert verdict({}, {}).verdict == HOLDS and "shortened" not in verdict({}, {}).reason
    assert verdict(found, runs).verdict == FAILS
    assert verdict({"seeds": 2}, {"seeds": 2}).verdict == UNDECIDED


def test_short_protocols_decide_nothing_and_say_so():
    rows = profile_claims([], protocols(), (500, 30_000))
    said = [row for row in rows if "decides nothing: the paper has 15,000 and 30,000" in row.reason]
    assert len(said) == 4 and {row.verdict for row in said} == {UNDECIDED}


def test_each_rule_on_replays_comes_out_each_way():
    def rows(nested, rounding=1e-14):
        made = Replay(
            1, [0, 50, 100], [nested] * 3, [0.001] * 3, [0.002] * 3, [1.0] * 3, [1e-12] * 3, [1e-9] * 3, [rounding] * 3
        )
        return {row.key["claim"]: row for row in replay_claims([made])}

    assert {row.verdict for row in rows(0.02).values()} == {HOLDS}
    assert rows(0.002)["ratio-1"].verdict == FAILS and rows(0.02, 1e-8)["agreement-1"].verdict == FAILS
    assert "over the gradient itself at most 1.0e-09" in rows(0.02)["agreement-1"].reason


def test_each_rule_on_the_baseline_comes_out_each_way():
    def rows(exact, without, ours):
        made = []
        for k in range(3):
            made.append(("built in", ChebyshevProfile(k, 9, 0.0, exact, 0.0, 7, 0.1, 1e-12)))
            made.append(("none", ChebyshevProfile(k, 9, 0.0, without, 0.0, 7, 0.1, 1e-9)))
        runs = [run_of(FORMULATIONS[1].label, k, 0, 1 / (2 * k + 2) + 0.02) for k in range(3)]
        runs += [run_of(FORMULATIONS[-1].label, k, 0, 1 / (2 * k + 2) + ours) for k in range(3)]
        return {row.key["claim"]: row.verdict for row in baseline_claims(made, runs)}

    assert set(rows(1e-16, 1e-2, 1e-8).values()) == {HOLDS}
    assert set(rows(1e-3, 1e-9, 0.019).values()) == {FAILS}


def test_quick_is_shorter_than_full():
    assert QUICK.protocol < FULL.protocol == (15_000, 30_000) and FULL.profiles == tuple(range(7))
    assert QUICK.replays[2] <= 20 and FULL.replays[2] <= 20
    assert FULL.runtimes.orders == QUICK.runtimes.orders == tuple(range(10))


def test_reproduction_writes_its_outputs_and_never_over_others(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(n_tangentprop_runtimes, "LEAST_S", 1e-4)
    # One case of three; the baseline has tests of its own.
    cases = {name: n_tangentprop_spectra.CASES[name] for name in (n_tangentprop_spectra.SQUARES,)}
    monkeypatch.setattr(n_tangentprop_spectra, "CASES", cases)
    monkeypatch.setattr(n_tangentprop.chebyshev_profile, "measure", lambda ks: [])
    size = Size(
        TINY, profiles=(0,), published=(0,), seeds=1, protocol=(20, 20), replays={}, ends={}, ablated=(0,),
        ablation_steps=2, spectra=(3,),
    )  # fmt: skip
    # Drawing takes half of the time; the figures themselves are made.
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: path.write_bytes(b"drawn"))
    said = []
    monkeypatch.setattr(n_tangentprop, "parts", lambda total: _Parts(total, said))
    claims = n_tangentprop.measure(tmp_path, size, full=False)
    assert len(said) == size.parts(1)
    written = json.loads((tmp_path / "claims.json").read_text())
    assert len(written["claims"]) == len(claims) and written["paper"] == n_tangentprop.PAPER and not written["full"]
    for name in n_tangentprop.OUTPUTS:
        assert (tmp_path / name).stat().st_size > 0
    drawn = {path.name for path in tmp_path.glob("*.png")}
    assert drawn == {*(f"figure-{n}.png" for n in (1, 2, 3, 4, 5, 6, 8)), "spectra.png"}
    profile = json.loads((tmp_path / "profiles.json").read_text())["found"][0]
    assert profile["accepted"] and profile["lam_error"] < 1e-10 and profile["u_error"] < 1e-9
    spectrum = json.loads((tmp_path / "spectra.json").read_text())[0]
    assert spectrum["steps"][0] == 0 and spectrum["steps"][-1] == 3 and len(spectrum["damping"]) >= 3
    for values, floor, usable in zip(spectrum["values"], spectrum["floors"], spectrum["usable"], strict=True):
        assert values == sorted(values, reverse=True) and values[usable - 1] > floor >= values[usable]
    text = capsys.readouterr().out
    assert "Ablation" in text and "Replay" in text and "u_1 = -1" in text and "Singular values" in text
    with pytest.raises(FileExistsError, match="choose another one or pass --overwrite"):
        n_tangentprop.measure(tmp_path, size, full=False)


class _Parts:
    """The progress bar, which keeps what it is told."""

    def __init__(self, total, said):
        self.said = said

    def __enter__(self):
        return self.said.append

    def __exit__(self, *raised):
        pass


@pytest.mark.parametrize("words", [("--logs", "."), ("--device", "cpu"), ("--quick", "--full")])
def test_options_of_other_papers_are_refused(words, tmp_path):
    result = CliRunner().invoke(app, ["reproduce", "n-tangentprop", *words, "-o", str(tmp_path / "out")])
    assert result.exit_code == 2 and "takes neither --logs nor --device" in " ".join(result.stderr.split())
    assert not list(tmp_path.iterdir())


def test_the_page_holds_the_table_of_the_committed_results():
    folder = Path(n_tangentprop.__file__).parent
    results = folder / "results" / "n-tangentprop"
    committed = json.loads((results / "claims.json").read_text())
    assert committed["seeds"] == 3 and not committed["full"]
    table, page = (results / "claims.md").read_text().rstrip(), (folder / "n_tangentprop.md").read_text()
    assert table in page
    for number, claim in enumerate(committed["claims"], start=1):
        assert f"| {number} | {claim['claim']} |" in table.replace("\\|", "|"), claim["claim"]
    for name in n_tangentprop.FIGURES:
        assert f"results/n-tangentprop/{name}" in page and (results / name).exists()
