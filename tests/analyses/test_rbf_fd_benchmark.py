"""The benchmark of RBF-FD counts right, keeps what it measured and goes on from it; no time is judged here."""

import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
import torch
import typer

from analyses.benchmarks import rbf_fd
from analyses.benchmarks import rbf_fd_agreement as agreement
from analyses.benchmarks import rbf_fd_judge as judge
from analyses.benchmarks import rbf_fd_orders as orders
from analyses.benchmarks import rbf_fd_poisson as poisson
from analyses.benchmarks import rbf_fd_poisson_tables as tables
from analyses.benchmarks import rbf_fd_steps as steps
from solvers.evaluation import Evaluation
from solvers.geometry import Disk, scatter
from solvers.networks import MLP
from solvers.operators import RBFFD
from solvers.optimizers.optimizer import FlatParameters, StepInfo
from solvers.problems import disk_poisson


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# Orders.


class Cubic:
    """x^3 - x y^2, which stencils of order 3 differentiate exactly."""

    def __call__(self, x):
        return x[:, :1] ** 3 - x[:, :1] * x[:, 1:] ** 2

    def gradient(self, x):
        return torch.cat([3 * x[:, :1] ** 2 - x[:, 1:] ** 2, -2 * x[:, :1] * x[:, 1:]], dim=1)

    def laplacian(self, x):
        return 4 * x[:, :1]


def test_a_cubic_has_no_error_and_a_wrong_derivative_has():
    cubic, nodes = Cubic(), scatter(Disk(), count=200).points()
    found = orders.row_errors(nodes, cubic, 3)
    assert set(found) == set(orders.RULED) and max(found.values()) < 1e-9
    bent = Cubic()
    bent.laplacian = lambda x: 5 * x[:, :1]
    assert orders.row_errors(nodes, bent, 3)["laplacian"] == pytest.approx(0.2)
    bent = Cubic()
    bent.gradient = lambda x: 2 * cubic.gradient(x)
    assert orders.row_errors(nodes, bent, 3)["robin"] > 0.1


def test_the_orders_of_the_domains_are_those_asked_for(monkeypatch, capsys):
    domain = orders.Domain(orders.holed_ellipse, (3,), (400, 1600), (500, 1000))
    monkeypatch.setattr(orders, "QUICK", {"ellipse": domain})
    found = orders.measure(quick=True)
    (row,) = found["rows"]
    assert row["nodes"]["robin"] == pytest.approx([400, 1600], rel=0.02)
    assert row["nodes"]["solution"] == pytest.approx([500, 1000], rel=0.02)
    for quantity, values in row["errors"].items():
        spacings = row["spacings"][quantity]
        two_points = math.log(values[0] / values[1]) / math.log(spacings[0] / spacings[1])
        assert row["slopes"][quantity] == pytest.approx(two_points)
    assert row["passed"] == (min(row["slopes"]["laplacian"], row["slopes"]["robin"]) > 2.7)
    assert min(row["slopes"].values()) > 2.2
    orders.show(found)
    assert "ellipse" in capsys.readouterr().out


def test_one_slope_too_low_fails_its_domain_alone():
    def row(domain, order, laplacian, robin):
        slopes = {"laplacian": laplacian, "robin": robin, "solution": 0.0}
        passed = all(slopes[quantity] > order - orders.ALLOWED for quantity in orders.RULED)
        return {"domain": domain, "order": order, "slopes": slopes, "passed": passed}

    found = {"rows": [row("disk", 2, 2.1, 1.8), row("disk", 3, 3.2, 2.6), row("flower", 3, 2.8, 3.4)]}
    lines = orders.summary(found)
    assert [line[1:] for line in lines] == [("least p -0.40", "not reached"), ("least p -0.20", "reached")]


@pytest.mark.parametrize("make", [orders.flower, orders.holed_ellipse])
def test_the_domains_have_the_areas_of_their_formulas(make):
    # r = 1 + a cos(5 t) has the area pi (1 + a^2 / 2).
    area = {orders.flower: math.pi * (1 + 0.2**2 / 2), orders.holed_ellipse: math.pi * (1.2 * 0.9 - 0.3**2)}[make]
    assert make().measure == pytest.approx(area, rel=1e-6)


# Agreement.

PACKAGE = '''
"""Stands in for the package: splines and monomials of absolute coordinates, one dense solve a row."""
import itertools
import numpy as np
import scipy.sparse

def weight_matrix(x, p, n, diffs, phi, order):
    m, d = int(phi[3:]), p.shape[1]
    powers = [a for a in itertools.product(range(order + 1), repeat=d) if sum(a) <= order]
    rows = []
    for target in x:
        own = np.argsort(((p - target) ** 2).sum(axis=1))[:n]
        r = np.linalg.norm(p[own, None] - p[own], axis=2)
        poly = np.stack([np.prod((p[own] - target) ** a, axis=1) for a in powers], axis=1)
        matrix = np.block([[r**m, poly], [poly.T, np.zeros((len(powers),) * 2)]])
        distance = np.linalg.norm(target - p[own], axis=1)
        # The Laplacian of r^m in d dimensions; of the monomials about the target only the squares have one there.
        squares = [2.0 * (max(a) == 2 == sum(a)) for a in powers]
        right = np.concatenate([m * (m + d - 2) * distance ** (m - 2), squares])
        row = np.zeros(len(p))
        row[own] = np.linalg.solve(matrix, right)[:n]
        rows.append(SCALE * row)
    return scipy.sparse.csr_array(np.array(rows))
'''


@pytest.mark.parametrize("scale", [1.0, 1.0 + 1e-6])
def test_the_peers_weights_are_compared_row_by_row(tmp_path, monkeypatch, scale):
    folder = tmp_path / "rbf" / "pde"
    folder.mkdir(parents=True)
    for each in (folder, folder.parent):
        (each / "__init__.py").touch()
    (folder / "fd.py").write_text(PACKAGE.replace("SCALE", repr(scale)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = agreement.peer_rows(sys.executable, ((2, 3), (3, 2)), 200)
    assert [(row["order"], row["size"]) for row in found] == [(3, 31), (2, 41)]
    for row in found:
        assert row["laplacian"] < 1e-7 if scale == 1.0 else row["laplacian"] == pytest.approx(1e-6, rel=0.1)


def test_without_the_package_there_is_a_reason(tmp_path):
    empty = tmp_path / "python"
    empty.write_text("#!/bin/sh\necho absent\n")
    empty.chmod(0o755)
    assert agreement.peer_rows(str(empty), ((2, 2),), 100) == agreement.INSTALL
    empty.write_text("#!/bin/sh\necho 'bad: no such thing' >&2; exit 3\n")
    assert agreement.peer_rows(str(empty), ((2, 2),), 100) == f"{empty} failed: bad: no such thing"


def test_differences_are_relative_to_their_rows():
    first = scipy.sparse.csr_array(np.array([[1.0, 100.0], [2.0, 0.0]]))
    second = scipy.sparse.csr_array(np.array([[2.0, 100.0], [2.5, 0.0]]))
    assert agreement.row_difference(first, second) == pytest.approx(0.2)


def test_the_verdict_is_that_of_the_worst_row(capsys):
    peer = [{"dimension": 2, "order": 2, "size": 21, "laplacian": 1e-12}]
    authors = [{"order": 2, "rows": 9, "laplacian": 1e-12, "robin": 2e-8}]
    found = {"authors": authors, "peer": peer}
    assert [line[2] for line in agreement.summary(found)] == ["not reached", "reached"]
    missing = {"authors": "absent", "peer": agreement.INSTALL}
    assert [line[2] for line in agreement.summary(missing)] == ["not measured"] * 2
    for each in (found, missing):
        agreement.show(each)
    assert "2.0e-08" in capsys.readouterr().out


def test_the_authors_rows_agree(shared):
    found = agreement.authors_rows(shared, 2)
    assert found["rows"] > 300 and max(found["laplacian"], found["robin"]) < agreement.TOLERANCE


# Steps.


def test_all_calls_of_a_step_are_timed_and_compute_the_same(capsys):
    row = steps.measure_count(120, budget=0.01)
    assert set(row["timings"]) == {*steps.EXACT, *steps.OURS, steps.NETWORK, *steps.PRODUCTS}
    assert row["difference_of_exact_gradients"] < 1e-12 and row["difference_of_products"] < 1e-9
    assert len(set(np.round([row["losses"][name] for name in steps.EXACT], 3))) == 1
    assert row["losses"][steps.OURS[0]] == pytest.approx(row["losses"][steps.OURS[1]], rel=1e-3)
    steps.show({"rows": [row]})
    assert "torch's CSR autograd" in capsys.readouterr().out


def test_the_stacked_matrix_is_that_of_the_loss():
    points = disk_poisson().sample(interior=150)
    own = steps.objective(RBFFD(3), torch.float64, points)
    with torch.no_grad():
        values = own.network(torch.cat([points.rows, points.ghost])).numpy()
    evaluation = Evaluation(own)
    residual = torch.cat([evaluation.residual, *evaluation.condition_residuals]).detach().numpy()
    with torch.no_grad():
        own.vector.zero_()
    zero = Evaluation(own)
    constant = torch.cat([zero.residual, *zero.condition_residuals]).detach().numpy()
    assert np.allclose(steps.stacked(points, 3) @ values, residual - constant, atol=1e-9)


def test_ratios_are_taken_over_ours_at_the_largest_count():
    def row(nodes, **times):
        return {"nodes": nodes, "timings": {name: {"cpu_ms": ms} for name, ms in times.items()}}

    names = ("autograd float64", "autograd float32", steps.NETWORK, *steps.OURS)
    small, large = (dict(zip(names, values, strict=True)) for values in ((1, 1, 1, 1, 1), (80, 30, 9, 10, 8)))
    lines = steps.summary({"rows": [row(100, **small), row(200, **large)]})
    assert [line[1] for line in lines] == ["8.00", "10.00", "3.00", "3.75", "0.90", "1.12"]
    assert [line[2] for line in lines] == ["reached"] * 2 + ["not reached"] * 2 + ["reached"] * 2


# Poisson.


def test_the_judge_measures_either_precision():
    error_of = judge.Judge()
    torch.manual_seed(3)
    network = MLP(2, judge.WIDTHS)
    single = FlatParameters(network).vector
    points, exact = judge.judging_nodes()
    with torch.no_grad():
        error = network.double()(points.interior) - exact
    assert error_of(single) == pytest.approx(float(error.norm() / exact.norm()), rel=1e-10)
    assert error_of(single.double()) == error_of(single)
    assert len(points.interior) == pytest.approx(judge.TEST_NODES, rel=0.01)


class Ticking:
    """A clock that moves where it is told to."""

    def __init__(self):
        self.now = 0.0

    def process_time(self):
        return self.now


class Countdown:
    """An optimizer whose steps take two seconds each, and that stops after some."""

    def __init__(self, clock, last):
        self.clock, self.last, self.made = clock, last, 0

    def init(self, vector):
        return SimpleNamespace(vector=vector)

    def step(self, objective, state):
        self.clock.now += 2.0
        self.made += 1
        return state, StepInfo(stopped="spent" if self.made == self.last else None)


@pytest.mark.parametrize(("last", "ends"), [(3, 6.0), (99, 10.0)])
def test_the_clock_stands_while_errors_are_measured(monkeypatch, last, ends):
    clock, errors = Ticking(), iter([1.0, 0.5, 0.009, 0.02, 1e-5, 1e-7, 1e-9])

    class Judge:
        def __call__(self, vector):
            clock.now += 1000.0
            return next(errors)

    monkeypatch.setattr(poisson, "time", clock)
    monkeypatch.setattr(poisson, "Judge", Judge)
    # One step more, which warms up.
    row = poisson.Row(RBFFD(2), Countdown(clock, last + 1))
    found = poisson.run(row, 0, budget=9.0, count=120)
    assert found["spent_s"] == ends and found["stopped"] == ("spent" if last == 3 else None)
    assert found["seconds_to"] == {"1e-2": 4.0, "1e-3": None, "1e-4": None, "1e-5": None} | (
        {} if last == 3 else {"1e-3": 8.0, "1e-4": 8.0, "1e-5": 8.0}
    )
    # What is reached after the budget does not count.
    assert found["best"] == (0.009 if last == 3 else 1e-5)
    assert found["staircase"][:3] == [[0.0, 1.0], [2.0, 0.5], [4.0, 0.009]]


def test_a_run_comes_near_the_solution():
    own = poisson.run(poisson.ROWS["p=5 LM"], 0, budget=0.5, count=120)
    assert own["best"] < 0.2 and own["steps"] >= 3 and own["evaluations"] >= own["steps"]
    assert own["staircase"][0][1] > 0.5 and own["last"] >= own["best"]


def test_vanilla_has_no_ghosts_and_the_equation_inside_alone():
    exact, ours = (poisson.prepared(poisson.ROWS[name], 0, 120) for name in ("vanilla L-BFGS", "p=3 LM"))
    assert len(exact.equation_points.interior) == len(ours.points.interior) < len(ours.equation_points.interior)
    assert torch.equal(exact.vector, ours.vector)
    assert poisson.prepared(poisson.ROWS["vanilla32 L-BFGS"], 0, 120).vector.dtype == torch.float32


def test_runs_that_are_known_are_not_repeated(monkeypatch, capsys):
    ran = []

    def run(row, seed, budget, count):
        ran.append(seed)
        return {"seed": seed, "budget": budget, "seconds_to": dict.fromkeys(poisson.THRESHOLDS), "best": 0.5} | {
            "stopped": None
        }

    monkeypatch.setattr(poisson, "run", run)
    seen = []
    first = poisson.measure(["p=3 LM"], (0, 1), 1.0, [], lambda found: seen.append(len(found["runs"])), 150)
    again = poisson.measure(["p=3 LM"], (0, 1, 2), 1.0, first["runs"], lambda found: None, 150)
    assert ran == [0, 1, 2] and seen == [1, 2] and again["runs"][:2] == first["runs"]
    poisson.measure(["p=3 LM"], (0,), 2.0, first["runs"], lambda found: None, 150)
    poisson.measure(["p=3 LM"], (0,), 1.0, first["runs"], lambda found: None, 140)
    assert ran == [0, 1, 2, 0, 0]
    assert "kept: p=3 LM, seed 0" in capsys.readouterr().out


def found_runs(times, budget=60.0):
    """Runs with given seconds to 1e-4, and best errors of a thousandth of them; None where it was not reached."""
    runs = [
        {
            "row": name,
            "seed": seed,
            "seconds_to": dict.fromkeys(poisson.THRESHOLDS, None) | {"1e-4": seconds},
            "best": 1e-3 if seconds is None else seconds * 1e-6,
        }
        for name, values in times.items()
        for seed, seconds in enumerate(values)
    ]
    return {"runs": runs, "budget": budget, "floors": {"p=5": {"rel_l2": 1e-5, "seconds": 0.02}}}


def test_ratios_are_of_the_same_seed_and_bounds_where_the_slower_did_not_arrive():
    found = found_runs({"vanilla L-BFGS": [40.0, None, 30.0], tables.HEADLINE: [10.0, 6.0, None]})
    own = tables.ratios(found, "vanilla L-BFGS", tables.HEADLINE)
    assert own == {0: (4.0, ""), 1: (10.0, ">"), 2: (0.0, "")}
    line = tables.summary(found)[0]
    assert line[1:] == ("4.0 (3 seeds)", "reached")


def test_the_median_of_bounds_is_a_bound_and_the_verdicts_follow_the_medians(capsys):
    times = {"vanilla L-BFGS": [None, None, 9.0], "vanilla32 L-BFGS": [9.0, 9.0, 9.0], tables.HEADLINE: [6.0, 5.0, 4.0]}
    found = found_runs(times | {"p=6 LM": [4.0, None, 6.0]})
    lines = {line[0]: line[1:] for line in tables.summary(found)}
    assert lines["must: time to 1e-4, vanilla L-BFGS / p=5 hybrid >= 4"] == (">10.0 (3 seeds)", "reached")
    assert lines["must: time to 1e-4, vanilla32 L-BFGS / p=5 hybrid >= 2.5"] == ("1.8 (3 seeds)", "not reached")
    assert lines["must: best in 60 s, p=5 hybrid, median <= 1e-05"] == ("5.0e-06 (3 seeds)", "reached")
    assert lines["goal: best in 60 s, p=5 hybrid, median <= 3e-06"] == ("5.0e-06 (3 seeds)", "not reached")
    assert lines["must: best in 60 s, p=6 LM, median <= 5e-06"][1] == "not reached"
    tables.show(found)
    printed = capsys.readouterr().out
    assert "no run reached a relative error of 1e-5" in printed and ">10.0" in printed and "0.020 s" in printed


# The whole.


def test_results_are_kept_and_taken_over(tmp_path, monkeypatch):
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    monkeypatch.setattr(judge, "TEST_NODES", 500)
    judge.judging_nodes.cache_clear()
    options = {"quick": True, "only": ["poisson"], "row": ["p=3 LM"], "budget": 0.05}
    one = rbf_fd.main(**options, json_file=first)
    assert json.loads(first.read_text()) == json.loads(json.dumps(one))
    assert [own["row"] for own in one["poisson"]["runs"]] == ["p=3 LM"]
    two = rbf_fd.main(**options | {"row": ["p=3"]}, json_file=second, earlier=[first])
    assert len(two["poisson"]["runs"]) == 3 and one["poisson"]["runs"][0] in two["poisson"]["runs"]
    monkeypatch.delenv("PINNSCOPE_SHARED", raising=False)
    three = rbf_fd.main(quick=True, only=["agreement"], peer=str(tmp_path / "none"), earlier=[second])
    assert three["poisson"] == json.loads(json.dumps(two["poisson"])) and "step" not in three
    assert three["agreement"]["peer"].startswith(f"{tmp_path / 'none'} failed: ")
    judge.judging_nodes.cache_clear()


def test_building_is_judged_by_its_slowest_case():
    rows = [{"peer_over_build": 4.5}, {"peer_over_build": 8.0}, {"peer_over_build": None}]
    memory = [{"dimension": 2, "order": 4, "count": 100_000, "peak_mb": 701.0}]
    lines = rbf_fd.building_summary({"rows": rows, "memory": memory})
    assert [line[1:] for line in lines] == [
        ("4.5 to 8.0", "reached"),
        ("4.5 to 8.0", "not reached"),
        ("701 MB", "not reached"),
    ]
    assert rbf_fd.building_summary({"rows": rows[2:], "memory": []})[0][1:] == ("-", "not measured")


def test_unknown_sections_and_rows_are_refused():
    with pytest.raises(typer.BadParameter, match="unknown section 'speed'; expected one of orders"):
        rbf_fd.main(only=["speed"])
    with pytest.raises(typer.BadParameter, match=r"no row has \['p=9'\] in its name; expected parts of vanilla"):
        rbf_fd.main(only=["poisson"], row=["p=9"])
