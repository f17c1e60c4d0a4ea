"""The claims on discretely-trained PINNs: each rule can come out each way, on runs made by hand; the command runs."""

import gc
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from analyses.benchmarks import interleaved
from analyses.cli import app
from analyses.reproduce import dt_pinn, dt_pinn_speeds
from analyses.reproduce.claims import FAILS, HOLDS, UNDECIDED
from analyses.reproduce.dt_pinn_figures import laplacian_figure
from analyses.reproduce.dt_pinn_ground import Floor, Ground
from analyses.reproduce.dt_pinn_laplacian import ARMS, NETWORK, ORDERS, Laplacian, Plans, product_name
from analyses.reproduce.dt_pinn_laplacian_claims import laplacian_claims
from analyses.reproduce.dt_pinn_rows import settled
from analyses.reproduce.dt_pinn_settings import (
    AUTODIFF,
    DISCRETE,
    FULL,
    PAPER_COUNTS,
    QUICK,
    TAYLOR_64,
    VANILLA,
    VANILLA_64,
    Arm,
    discrete,
)
from analyses.reproduce.dt_pinn_training import FIRST_LOG, Trained, lowest, reaches, train_arm
from analyses.reproduce.dt_pinn_training_claims import training_claims
from solvers.points import EQUATION

SEEDS = 3
TAYLOR, DT, DT2, DT32 = TAYLOR_64, Arm(DISCRETE, 64, 5), Arm(DISCRETE, 64, 2), Arm(DISCRETE, 32, 5)
DEFAULT = {
    VANILLA: {"cost": 4.0, "pace": 60.0, "least": 1e-4},
    VANILLA_64: {"cost": 9.0, "pace": 60.0, "least": 1e-4},
    TAYLOR: {"cost": 3.0, "pace": 60.0, "least": 1e-4},
    DT: {"cost": 1.0, "pace": 40.0, "least": 1e-4},
    DT2: {"cost": 0.1, "pace": 40.0, "least": 1e-3},
    DT32: {"cost": 1.0, "pace": 50.0, "least": 1e-3},
}
"""CPU seconds an iteration, iterations a decade, and the lowest error."""
LARGE = {DT: {"pace": 30.0}}
"""What changes with more nodes."""


def made(study, count, arm, seed, *, cost, pace, least, stopped="", iterations=400):
    """A run whose error falls to `least` at an even pace and rises a little after; seeds are 1 % apart."""
    steps = np.arange(0, iterations + 1, 2)
    pace = pace * 1.01**seed
    fallen = 10.0 ** (-steps / pace)
    errors = np.where(fallen > least, fallen, least * (1 + 1e-4 * steps))
    columns = (cost * steps, steps, steps + 1, errors)
    return Trained(study, count, arm, seed, 1600.0, 0.1, stopped, *([float(v) for v in c] for c in columns))


def world(changes=None, large=None, nonlinear=None, heat=None, seeds=SEEDS):
    """All runs; `changes` go to every study, `nonlinear` and `heat` to theirs, `large` to the larger node set.

    A tuple among the changes gives each seed its own value.
    """
    runs = []
    studies = (("linear", 582, {}), ("linear", 1663, LARGE | (large or {})), ("nonlinear", 582, nonlinear or {}))
    slower = {arm: {"cost": 2.0 * DEFAULT[arm]["cost"]} for arm in (DT,)}
    for study, count, own in (*studies, ("heat", 200, heat or {})):
        own = (slower | own) if study == "nonlinear" else own
        for arm, default in DEFAULT.items():
            if study != "linear" and arm in (VANILLA_64, DT32):
                continue
            for seed in range(seeds):
                options = default | (changes or {}).get(arm, {}) | own.get(arm, {})
                options = {k: v[seed % len(v)] if isinstance(v, tuple) else v for k, v in options.items()}
                runs.append(made(study, count, arm, seed, **options))
    return runs


FLOORS = [
    Floor(study, count, order, 5e-5 if order == 5 else 1e-3, 0.02, 1e-3)
    for study, count in (("linear", 582), ("linear", 1663), ("nonlinear", 582), ("heat", 200))
    for order in (2, 5)
]


def verdicts(*arguments, floors=FLOORS, **options):
    claims = training_claims(world(*arguments, **options), floors)
    return {claim.key["claim"]: claim.verdict for claim in claims}


def every(arm, **values):
    return {"changes": {arm: values}}


def paced(pace):
    """DT runs that need as many iterations at both sizes."""
    return every(DT, pace=pace) | {"large": {DT: {"pace": pace}}}


@pytest.mark.parametrize(
    ("key", "holds", "fails", "undecided"),
    [
        ("linear-accuracy", {}, every(DT, least=1e-3), every(DT, least=(1e-4, 1e-3))),
        ("linear-speedup", {}, every(DT, cost=4.0), every(DT, cost=(1.0, 8.0))),
        ("linear-same-error", {}, every(DT, cost=4.0), every(DT, cost=(1.0, 8.0))),
        ("linear-taylor", {}, every(TAYLOR, cost=1.0), every(TAYLOR, cost=(1.0, 6.0))),
        ("p2-accuracy", {}, every(DT2, least=1e-4), every(DT2, least=(1e-3, 1e-4))),
        ("p2-speedup", {}, every(DT2, cost=1.0), every(DT2, cost=(0.1, 1.0))),
        ("vanilla64-same", {}, every(VANILLA_64, least=1e-3), every(VANILLA_64, least=(1e-4, 1e-3))),
        ("vanilla64-slower", {}, every(VANILLA_64, cost=5.0), every(VANILLA_64, cost=(5.0, 9.0))),
        ("fp32-accuracy", {}, every(DT32, least=1e-4), every(DT32, least=(1e-4, 1e-3))),
        ("fp32-speed", {}, every(DT32, cost=0.5), every(DT32, cost=(0.5, 1.0))),
        ("epochs", {}, paced(60.0), paced((30.0, 60.0))),
        ("epochs-same-error", {}, paced(60.0), paced((30.0, 60.0))),
        ("epochs-nodes64", {}, {"large": {DT: {"pace": 40.0}}}, {"large": {DT: {"pace": (30.0, 60.0)}}}),
        ("epochs-nodes32", {}, {"large": {DT32: {"pace": 20.0}}}, {"large": {DT32: {"pace": (20.0, 60.0)}}}),
        ("nonlinear-accuracy", {}, every(DT, least=1e-3), every(DT, least=(1e-4, 1e-3))),
        ("nonlinear-speedup", {}, {"nonlinear": {DT: {"cost": 8.0}}}, {"nonlinear": {DT: {"cost": (1.0, 9.0)}}}),
        ("nonlinear-same-error", {}, {"nonlinear": {DT: {"cost": 8.0}}}, {"nonlinear": {DT: {"cost": (1.0, 9.0)}}}),
        ("nonlinear-taylor", {}, {"nonlinear": {DT: {"cost": 8.0}}}, {"nonlinear": {DT: {"cost": (1.0, 9.0)}}}),
        ("nonlinear-less", {}, {"nonlinear": {DT: {"cost": 0.5}}}, {"nonlinear": {DT: {"cost": (0.5, 2.0)}}}),
        ("heat-accuracy", {}, every(DT, least=1e-3), every(DT, least=(1e-4, 1e-3))),
        ("heat-speedup", {}, {"heat": {DT: {"cost": 8.0}}}, {"heat": {DT: {"cost": (1.0, 9.0)}}}),
        ("heat-same-error", {}, {"heat": {DT: {"cost": 8.0}}}, {"heat": {DT: {"cost": (1.0, 9.0)}}}),
        ("heat-taylor", {}, {"heat": {DT: {"cost": 8.0}}}, {"heat": {DT: {"cost": (1.0, 9.0)}}}),
        ("linear-floor", {}, every(DT, least=1e-5), every(DT, least=(1e-4, 1e-5))),
    ],
)
def test_each_rule_comes_out_each_way(key, holds, fails, undecided):
    assert verdicts(**holds)[key] == HOLDS
    assert verdicts(**fails)[key] == FAILS
    assert verdicts(**undecided)[key] == UNDECIDED


def test_two_seeds_decide_nothing_and_no_run_is_no_error():
    assert set(verdicts(seeds=2).values()) == {UNDECIDED}
    claims = training_claims([], [])
    assert {claim.verdict for claim in claims} == {UNDECIDED}
    assert all("nothing was measured" in claim.reason for claim in claims if "nodes" not in claim.key["claim"])


def test_runs_that_were_still_falling_do_not_tell_how_many_epochs_are_needed():
    """Lowest errors at the end of equal iterations are at equal iterations."""
    short = [replace(run, errors=list(10.0 ** (-np.array(run.iterations) / 100.0))) for run in world()]
    rows = {claim.key["claim"]: claim for claim in training_claims(short, FLOORS)}
    assert rows["epochs"].verdict == rows["epochs-nodes64"].verdict == rows["epochs-nodes32"].verdict == UNDECIDED
    assert "still falling" in rows["epochs"].reason and "still falling" in rows["epochs-nodes64"].reason
    assert "in 100% of the runs the lowest error is among the last" in rows["linear-speedup"].reason


def run_of(errors, cost=1.0, stopped="", arm=DT):
    steps = list(range(len(errors)))
    seconds = [cost * step for step in steps]
    return Trained("linear", 9, arm, 0, 10.0, 0.0, stopped, seconds, steps, [step + 1 for step in steps], errors)


def test_measures_of_two_runs_by_hand():
    run = run_of([1.0, 0.5, 0.1, 0.2, 0.01], cost=2.0)
    base = run_of([1.0, 0.8, 0.2, 0.1], cost=6.0)
    assert dt_pinn_speeds.equal_iterations(run, base) == 3
    assert (lowest(run), lowest(run, 3), reaches(run, 0.5), reaches(run, 1e-3)) == (4, 2, 1, None)
    assert dt_pinn_speeds.accuracy(run, base) == pytest.approx(0.1)
    assert dt_pinn_speeds.accuracy_per_iteration(run, base) == pytest.approx(1.0)
    # In three iterations: the run's lowest after 4 s, the base's after 18 s.
    assert dt_pinn_speeds.speedup(run, base) == pytest.approx(18 / 4)
    assert dt_pinn_speeds.epochs(run, base) == pytest.approx(2 / 3)
    # Both reach 0.1, whatever comes later.
    assert dt_pinn_speeds.speedup_same_error(run, base) == pytest.approx(18 / 4)
    assert dt_pinn_speeds.epochs_same_error(run, base) == pytest.approx(2 / 3)
    assert dt_pinn_speeds.cost(run, base) == pytest.approx(1 / 3)
    assert dt_pinn_speeds.still_falling([(run, base)]) == 0.5
    stopped = run_of([1.0, 0.8], stopped="no decrease possible")
    assert dt_pinn_speeds.equal_iterations(run, stopped) == 4
    assert np.isnan(dt_pinn_speeds.speedup(run_of([1.0, 2.0]), base))
    assert lowest(run_of([1.0, float("nan"), 0.5])) == 2


def test_settings_are_judged_one_by_one():
    def row(cells, **limits):
        return settled("k", "c", "w", "q", cells, **limits)

    assert row({"a": [1.0, 1.0, 1.0], "b": [3.0, 3.0, 3.0]}, least=2.0).verdict == FAILS
    assert row({"a": [1.0] * 3, "b": [3.0] * 3, "c": [3.0] * 3}, least=2.0).verdict == UNDECIDED
    one = row({"a": [2.0, 3.0, float("nan"), 4.0]}, least=1.0, most=5.0)
    assert (one.verdict, one.measured, one.low, one.high, one.interval) == (HOLDS, 3.0, 2.0, 4.0, "95 % over seeds")
    assert "holds from 1 to 5; a: 3 [2, 4]" in one.reason
    assert row({"a": [2.0, 3.0]}, least=1.0).verdict == UNDECIDED
    assert "in 1 of 1 settings fewer than 3 seeds" in row({"a": [2.0, 3.0]}, least=1.0).reason
    assert row({"a": [3.0] * 3}, least=1.0, doubt="too short").verdict == UNDECIDED
    many = row({f"s{k}": [float(k)] * 3 for k in range(9)}, most=7.0)
    assert "of 9 settings: holds in 8, does not hold in 1; least s0: 0 [0, 0], largest s8: 8 [8, 8]" in many.reason
    assert (many.low, many.high, many.interval) == (0.0, 8.0, "least and largest setting")
    assert len(many.key["cells"]) == 9


def depth(layers, *, ratio=5.0, decades=2.0, noise=1.0, product=0.1, single=5.0, double=12.0, whole=2.0, taylor=3.0):
    """A depth at which RBF-FD of order 5 is `ratio` times less accurate than fp32 and an order gains `decades`."""
    best = 1e-7 * ratio
    errors = {arm.label: [1e-7] * 3 for arm in ARMS}
    errors |= {a.label: [best * 10 ** (decades * (5 - a.order))] * 3 for a in discrete(*ORDERS)}
    forward = {arm.label: [whole] * 3 for arm in ARMS} | {NETWORK: [layers * 1.0] * 3}
    forward |= {product_name(order): [product] * 3 for order in ORDERS}
    forward |= {
        Arm(AUTODIFF, 32).label: [single] * 3,
        Arm(AUTODIFF, 64).label: [double] * 3,
        TAYLOR.label: [taylor] * 3,
    }
    return Laplacian(
        layers, errors, {order: [noise * 1e-3] * 3 for order in ORDERS}, dict.fromkeys(ORDERS, 1e-3), forward, forward
    )


@pytest.mark.parametrize(
    ("key", "fails"),
    [
        ("most-accurate", {"ratio": 0.1}),
        ("as-accurate", {"ratio": 100.0}),
        ("only-order-5", {"ratio": 1e-3}),
        ("two-decades", {"decades": 1.0}),
        ("noise", {"noise": 50.0}),
        ("independent", "product"),
        ("slowly", "single"),
        ("fp64-slower", {"double": 6.0}),
        ("cheaper", {"product": 6.0}),
        ("cheaper-whole", {"whole": 6.0}),
        ("cheaper-taylor", {"taylor": 1.0}),
    ],
)
def test_each_rule_on_one_laplacian_comes_out_each_way(key, fails):
    def found(*depths):
        return {claim.key["claim"]: claim.verdict for claim in laplacian_claims(depths, 100)}[key]

    assert found(depth(8), depth(2)) == HOLDS
    grown = {fails: 40.0} if isinstance(fails, str) else fails
    assert found(depth(8, **grown), depth(2, **({} if isinstance(fails, str) else fails))) == FAILS
    halves = depth(8)
    for values in (*halves.errors.values(), *halves.noise.values(), *halves.forward.values()):
        values[1:] = [] if len(values) > 1 else values
    assert found(halves, depth(2)) == UNDECIDED


def test_laplacians_are_those_of_the_network_and_rounding_is_seen(monkeypatch):
    monkeypatch.setattr(interleaved, "LEAST_S", 1e-4)
    plans = Plans(150)
    found = plans.measure(2, 2, rounds_s=0.0)
    assert found.errors[Arm(AUTODIFF, 64).label] == [0.0, 0.0]
    assert max(found.errors[TAYLOR.label]) < 1e-13
    assert 1e-9 < max(found.errors[Arm(AUTODIFF, 32).label]) < 1e-5
    errors = [np.median(found.errors[Arm(DISCRETE, 64, order).label]) for order in ORDERS]
    assert errors[0] > 10 * errors[-1]
    assert min(found.noise[5]) > 1e-2 * found.predicted[5] > 1e-6
    assert set(found.forward) == set(found.both) and all(len(v) >= 3 for v in found.both.values())
    laplacian_figure([found, replace(found, depth=3)], 150).canvas.draw()


def quick(name, **changes):
    study = next(study for study in QUICK.studies if study.name == name)
    return replace(study, counts=(120,), test=study.test and 200, seconds=0.1, **changes)


def test_logging_is_not_on_the_clock(monkeypatch):
    ground = Ground(replace(quick("linear"), seconds=0.3), 120)
    slow, calls = Ground.error, []

    def burn(self, network, dtype):
        end = time.process_time() + 0.1
        while time.process_time() < end:
            pass
        calls.append(1)
        return slow(self, network, dtype)

    monkeypatch.setattr(Ground, "error", burn)
    begun = time.process_time()
    run = train_arm(ground, DT, 0)
    spent = time.process_time() - begun
    assert len(calls) >= 3 and spent > 0.1 * len(calls) + run.seconds[-1]
    assert gc.isenabled()
    # Measured every so often, not at every iteration; only the last step may run over the budget.
    assert run.seconds[1] >= FIRST_LOG and run.iterations[1] > 1
    assert run.seconds[-2] < run.budget <= run.seconds[-1]
    assert len(run.errors) == len(run.seconds) == len(run.iterations) == len(run.evaluations) == len(calls)
    assert run.evaluations[0] == 1 and run.evaluations[-1] > run.iterations[-1]


def test_arms_start_from_the_same_weights_and_vanilla_knows_no_ghosts(monkeypatch):
    ground, asked, points = Ground(quick("linear"), 120), [], Ground.points

    def recorded(self, ghosts):
        asked.append(ghosts)
        return points(self, ghosts)

    monkeypatch.setattr(Ground, "points", recorded)
    starts = [train_arm(ground, arm, 1).errors[0] for arm in (DT, TAYLOR, VANILLA)]
    assert asked == [True, False, False]
    assert starts[0] == starts[1] == pytest.approx(starts[2], rel=1e-5)
    assert train_arm(ground, DT, 2).errors[0] != starts[0]
    with_ghosts, without = ground.points(ghosts=True), ground.points(ghosts=False)
    inside, edge, _ = without.counts
    assert len(with_ghosts.only(EQUATION).interior) == inside + edge
    assert len(without.only(EQUATION).interior) == inside and len(without.ghost) == 0


def test_heat_repeats_its_nodes_and_is_measured_on_them():
    ground = Ground(quick("heat"), 120)
    points = ground.points(ghosts=True)
    assert len(points.times) == 25 and len(ground.test[0]) == sum(points.counts[:2])
    floor = ground.floor(3)
    assert 0 < floor.rel_l2 < 0.05 and 1e-6 < floor.noise < 1e-2

    class Exact(torch.nn.Module):
        def forward(self, x):
            return ground.problem.solution(x)

    assert ground.error(Exact(), torch.float64) == 0.0


def test_more_nodes_get_more_seconds():
    study = FULL.studies[0]
    assert study.counts == PAPER_COUNTS and study.budget(582) == study.budget(1663) == study.seconds
    assert study.budget(3326) == 2 * study.seconds


TINY = replace(
    QUICK,
    depths=(2, 3),
    nodes=150,
    seeds=1,
    studies=tuple(replace(quick(study.name), arms=(study.arms[0], DT, VANILLA, TAYLOR)) for study in QUICK.studies),
)


def test_the_reproduction_in_short(tmp_path, monkeypatch):
    monkeypatch.setattr(dt_pinn, "QUICK", TINY)
    monkeypatch.setattr(interleaved, "LEAST_S", 1e-4)
    folder = tmp_path / "out"
    result = CliRunner().invoke(app, ["reproduce", "dt-pinn", "-o", str(folder)], env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    table = result.stdout.split("\n 1. ")[0]
    assert max(map(len, table.splitlines())) <= 100 and "linear Poisson" in table
    found = json.loads((folder / "claims.json").read_text())
    assert (found["seeds"], found["full"], found["device"]) == (1, False, "cpu")
    assert found["machine"]["cores"] >= 1 and {row["verdict"] for row in found["claims"]} <= {UNDECIDED, FAILS, HOLDS}
    training = [row for row in found["claims"] if "s a run" in row["setting"]]
    assert {row["verdict"] for row in training} == {UNDECIDED}
    kept = json.loads((folder / "runs.json").read_text())
    assert len(kept["runs"]) == 12 and len(kept["floors"]) == 6
    assert all((folder / name).stat().st_size > 1000 for name in dt_pinn.FIGURES)
    again = CliRunner().invoke(app, ["reproduce", "dt-pinn", "-o", str(folder)])
    assert again.exit_code == 2 and "overwrite" in again.stderr


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--quick", "--full"), "what dt-pinn does without --full"),
        (("--logs", "."), "--logs belongs to total-diffusion"),
        (("--device", "cuda:99"), "use device='cpu'"),
    ],
)
def test_options_that_cannot_be_met_are_refused(words, part, tmp_path):
    result = CliRunner().invoke(app, ["reproduce", "dt-pinn", *words, "-o", str(tmp_path / "out")])
    assert result.exit_code == 2 and part in " ".join(result.stderr.split())
    assert not list(tmp_path.iterdir())


def test_the_page_holds_the_table_of_the_committed_results():
    folder = Path(dt_pinn.__file__).parent
    results = folder / "results" / "dt-pinn"
    committed = json.loads((results / "claims.json").read_text())
    assert committed["seeds"] == 3 and not committed["full"]
    table = (results / "claims.md").read_text().rstrip()
    page = (folder / "dt_pinn.md").read_text()
    assert table in page
    for number, claim in enumerate(committed["claims"], start=1):
        assert f"| {number} | {claim['claim']} |" in table and f"{number}. {claim['reason']}" in table
    for name in dt_pinn.FIGURES:
        assert f"results/dt-pinn/{name}" in page and (results / name).exists()
