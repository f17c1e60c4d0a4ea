"""The study of training speed: stacked trainings equal single ones, records are what they say, claims are judged."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from analyses.reproduce import training_speed
from analyses.reproduce.claims import FAILS, HOLDS, NOISE, UNDECIDED, rank_interval
from analyses.reproduce.stacked import Stack, train_stack
from analyses.reproduce.training_claims import DEEPER, FASTER, ORDERED, training_claims, training_summary
from analyses.reproduce.training_speed import CUTS, LEVELS, Cell, cells, measure_training, paired
from dynamics.entropy import truncated_entropy
from solvers import MLP, AutoDiff, FiniteDifference, TangentProp, Torch, TwoLayer, problems, steps
from solvers.objective import Objective

STEPS = 25


def starts(make, count=3):
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        made.append(make().double())
    return made


@pytest.mark.parametrize("optimizer", ["adam", "gradient-descent"])
@pytest.mark.parametrize(
    ("stacked", "single"),
    [
        (TangentProp(), AutoDiff()),
        (FiniteDifference(step=1e-1), FiniteDifference(step=1e-1)),
    ],
    ids=["exact", "central"],
)
@pytest.mark.parametrize("problem", [problems.poisson_1d(), problems.biharmonic_1d()], ids=["poisson", "biharmonic"])
@pytest.mark.parametrize("make", [lambda: TwoLayer(1, 9), lambda: MLP(1, [5, 4])], ids=["two-layer", "deep"])
def test_a_stack_trains_every_network_as_it_would_train_alone(make, problem, stacked, single, optimizer):
    networks, points = starts(make), problem.sample(interior=12, method="grid")
    # Stable ones: the biharmonic Jacobian is some thirty times as large.
    size = 1e-4 if problem.name == "poisson-1d" else 1e-7
    rates = None if optimizer == "adam" else size * torch.tensor([1.0, 2.0, 0.1]).double()
    run = train_stack(networks, problem, stacked, points, STEPS, rates, [STEPS])
    for seed, network in enumerate(starts(make)):
        chosen = (torch.optim.Adam, 1e-3) if rates is None else (torch.optim.SGD, float(rates[seed]))
        alone = steps(problem, network, single, Torch(chosen[0], lr=chosen[1]), points=points, steps=STEPS)
        losses = [step.loss for step in alone]
        assert np.allclose(run.loss[:, seed], losses, rtol=1e-9)
        for found, expected in zip(run.networks[STEPS][seed].parameters(), network.parameters(), strict=True):
            assert torch.allclose(found, expected, rtol=1e-7, atol=1e-9)
        assert losses[-1] != losses[0]


def test_a_stack_has_the_values_of_its_networks_and_leaves_them():
    networks, rows = starts(lambda: MLP(1, [5, 4])), torch.linspace(-1, 1, 7).double()[:, None]
    before = [[p.clone() for p in network.parameters()] for network in networks]
    stack = Stack(networks)
    assert torch.allclose(stack(rows), torch.cat([network(rows) for network in networks], dim=1), rtol=0, atol=1e-15)
    train_stack(networks, problems.poisson_1d(), TangentProp(), problems.poisson_1d().sample(interior=5), 2)
    for network, values in zip(networks, before, strict=True):
        assert all(torch.equal(p, value) for p, value in zip(network.parameters(), values, strict=True))
    with pytest.raises(ValueError, match="expected networks with 1 output, came 2"):
        Stack([MLP(1, [3], 2)])


def test_networks_of_the_study_have_nearly_equal_numbers_of_parameters():
    sizes = {name: sum(p.numel() for p in make().parameters()) for name, (_, make) in training_speed.NETWORKS.items()}
    assert sizes["two-layer"] == 150
    deep = [size for name, size in sizes.items() if name != "two-layer"]
    assert max(deep) / min(deep) < 1.1


def test_the_study_holds_every_setting_once_and_the_exact_one_first():
    chosen = list(cells())
    assert len(set(chosen)) == len(chosen)
    first = {}
    for cell in chosen:
        first.setdefault((cell.network, cell.problem, cell.dtype, cell.optimizer), cell.step)
    assert set(first.values()) == {None}
    assert {cell.network for cell in chosen} == set(training_speed.NETWORKS)
    assert {cell.optimizer for cell in chosen if cell.network == "two-layer"} == {"adam", "gradient-descent"}


@pytest.fixture(scope="module")
def records():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_speed, "STEPS", 40)
        patch.setattr(training_speed, "POINTS", 16)
        chosen = [
            Cell(network, "poisson-1d", "float64", optimizer, step)
            for network, optimizer in (("two-layer", "gradient-descent"), ("two-layer", "adam"))
            for step in (None, 1e-1)
        ] + [Cell("two-layer", "biharmonic-1d", "float32", "adam", 1e-2)]
        patch.setattr(training_speed, "cells", lambda quick: chosen)
        said = []
        found = measure_training(seeds=2, progress=said.append)
    assert len(said) == len(chosen)
    return found


def test_records_are_plain_and_say_what_they_are(records):
    assert json.loads(json.dumps(records, allow_nan=False)) == records
    assert [record["seed"] for record in records] == [0, 1] * 5
    ran = [record for record in records if record["status"] == "complete"]
    assert len(ran) == 8
    refused = [record for record in records if record["status"] == "refused"]
    assert all("below round-off for 'xxxx' in float32" in record["reason"] for record in refused)
    for record in ran:
        assert (record["rate"] is None) == (record["optimizer"] == "adam")
        assert record["loss_steps"][0] == 0
        assert record["loss_steps"][-1] == 40
        assert len(record["loss"]) == len(record["loss_steps"])
        assert set(record["steps_to"]) == {f"{level:g}" for level in LEVELS}
        assert set(record["spectra"]) == {"start", "middle", "end"}


def test_both_operators_start_from_the_same_network_and_descent_is_stable(records):
    by = {(r["optimizer"], r["step"], r["seed"]): r for r in records}
    for seed in (0, 1):
        exact, central = by["gradient-descent", None, seed], by["gradient-descent", 0.1, seed]
        assert exact["rate"] == central["rate"]
        assert exact["loss"] == sorted(exact["loss"], reverse=True)
        assert exact["spectra"]["start"] == by["adam", None, seed]["spectra"]["start"]
        assert exact["spectra"]["start"]["sigma_1"] != exact["spectra"]["end"]["sigma_1"]
        assert exact["exact_loss"] == pytest.approx(exact["loss"][-1], rel=1e-5)
        assert central["exact_loss"] != pytest.approx(central["loss"][-1], rel=1e-5)


def test_entropies_rates_and_levels_are_those_of_a_direct_computation(records):
    record = next(r for r in records if r["optimizer"] == "gradient-descent" and r["step"] is None and r["seed"] == 1)
    problem = problems.poisson_1d()
    torch.manual_seed(1)
    objective = Objective(problem, TwoLayer(1, 50).double(), AutoDiff(), problem.sample(interior=16, method="grid"))
    jacobian = objective(objective.vector).jacobian.numpy()
    values = np.linalg.svd(jacobian[:16], compute_uv=False)
    start = record["spectra"]["start"]
    assert start["sigma_1"] == pytest.approx(values[0], rel=1e-5)
    entropy, kept = truncated_entropy(values, CUTS)
    # Below the floor of the SVD both are noise.
    assert np.allclose(start["entropy"][:6], entropy[:6], rtol=1e-4)
    assert start["kept"][:6] == kept[:6].tolist()
    assert record["rate"] == pytest.approx(0.25 / np.linalg.norm(jacobian, 2) ** 2, rel=1e-5)
    assert record["loss"][0] == pytest.approx(float(objective(objective.vector).value.detach()), rel=1e-5)


def test_speed_is_the_first_step_at_each_level_and_the_decades_lost():
    loss = 100.0 * 0.9 ** np.arange(101.0)
    found = training_speed._speed(loss, 200.0)
    expected = {f"{level:g}": math.ceil(math.log(2 * level) / math.log(0.9) - 1e-9) for level in LEVELS}
    assert found["steps_to"] == expected
    # The last value is the median of the last five.
    assert found["decades"] == pytest.approx(98 * -math.log10(0.9), rel=1e-5)
    assert training_speed._speed(np.full(41, 3.0), 3.0)["steps_to"]["0.1"] is None
    broken = training_speed._speed(np.array([1.0, np.inf, np.nan]), 1.0)
    assert (broken["status"], broken["decades"]) == ("diverged", None)


def test_no_seed_is_refused():
    with pytest.raises(ValueError, match="expected at least 1 seed, came 0"):
        measure_training(seeds=0)


# Claims, on records with known answers.


def record(seed, step, decades, entropy, network="two-layer", entry_floor=1e-16, status="complete"):
    spectrum = {
        "sigma_1": 2.0,
        "floor": 2e-15,
        "entry_floor": 2 * entry_floor,
        "entropy": list(entropy),
        "kept": [3] * len(CUTS),
    }
    return {
        "network": network,
        "problem": "poisson-1d",
        "dtype": "float64",
        "optimizer": "adam",
        "step": step,
        "seed": seed,
        "status": status,
        "decades": decades,
        "spectra": dict.fromkeys(("start", "middle", "end"), spectrum),
    }


def study(gain, larger_at, entry_floor=1e-16, network="two-layer", seeds=8):
    """AD loses `gain` decades more than FD, and its H is larger by 0.1 at the cuts given."""
    rng = np.random.default_rng(0)
    made = []
    for seed in range(seeds):
        common, entropy = rng.uniform(1, 2), rng.uniform(0.4, 0.5)
        exact = [entropy + 0.1 * (cut in larger_at) for cut in CUTS]
        made.append(record(seed, None, common + gain + 0.001 * rng.uniform(), exact, network))
        made.append(record(seed, 1e-2, common, [entropy] * len(CUTS), network, entry_floor))
    return made


def verdicts(records, claim):
    return [row.verdict for row in training_claims(records) if row.claim == claim]


@pytest.mark.parametrize(
    ("gain", "larger_at", "entry_floor", "expected"),
    [
        (0.5, (1e-4,), 1e-6, HOLDS),
        (0.5, (1e-8,), 1e-6, NOISE),
        (0.5, (1e-4, 1e-8), 1e-6, HOLDS),
        (0.5, (), 1e-6, FAILS),
        (0.001, (1e-4,), 1e-6, FAILS),
        (-0.5, (1e-4,), 1e-6, FAILS),
    ],
)
def test_a_gain_holds_where_a_larger_entropy_above_the_floors_goes_with_it(gain, larger_at, entry_floor, expected):
    assert verdicts(study(gain, larger_at, entry_floor), FASTER) == [expected]


@pytest.mark.parametrize(("larger_at", "smaller_at"), [(1e-2, 1e-4), (1e-8, 1e-10), (1e-8, 1e-4)])
def test_an_entropy_that_differs_both_ways_orders_nothing(larger_at, smaller_at):
    records = study(0.5, (larger_at,), 1e-6)
    for entry in records[::2]:
        entry["spectra"]["start"]["entropy"][CUTS.index(smaller_at)] -= 0.2
    assert verdicts(records, FASTER) == [FAILS]


def test_a_null_result_and_a_slower_ad_are_said():
    (null,) = [row for row in training_claims(study(0.001, (1e-4,))) if row.claim == FASTER]
    assert null.reason.startswith("no gain above 0.01 decades: 0.00")
    assert null.low <= null.measured <= null.high
    assert null.seeds == 8
    (slower,) = [row for row in training_claims(study(-0.5, (1e-4,))) if row.claim == FASTER]
    assert slower.reason.startswith("AD is slower: -0.499 [-0.500, -0.499]")


def test_a_gain_that_not_all_seeds_show_is_none():
    records = study(0.0, (1e-4,))
    for entry in records[::2]:
        entry["decades"] += 0.5 if entry["seed"] % 2 else -0.4
    (row,) = [row for row in training_claims(records) if row.claim == FASTER]
    assert row.verdict == FAILS
    assert row.low < 0 < row.high


def test_entropy_orders_speed_where_their_ranks_agree():
    rng = np.random.default_rng(1)
    speeds = rng.permutation(12) / 3
    agreeing = [record(seed, None, speeds[seed], [0.3 + 0.01 * speeds[seed]] * len(CUTS)) for seed in range(12)]
    assert verdicts(agreeing, ORDERED) == [HOLDS] * 3
    noisy = [
        dict(r, spectra=record(0, None, 1.0, r["spectra"]["start"]["entropy"], entry_floor=1e-6)["spectra"])
        for r in agreeing
    ]
    assert verdicts(noisy, ORDERED) == [HOLDS, NOISE, NOISE]
    opposed = [dict(r, decades=-r["decades"]) for r in agreeing]
    assert verdicts(opposed, ORDERED) == [FAILS] * 3


@pytest.mark.parametrize(
    ("shallow", "deep", "expected"), [(0.1, 0.5, HOLDS), (0.5, 0.5, FAILS), (0.5, 0.1, FAILS), (-0.5, -0.1, FAILS)]
)
def test_the_gain_must_grow_with_depth(shallow, deep, expected):
    records = study(shallow, (1e-4,), network="depth-2") + study(deep, (1e-4,), network="depth-6")
    assert verdicts(records, DEEPER) == [expected]


def test_a_growing_gain_with_a_larger_entropy_below_the_floor_is_noise():
    records = study(0.1, (1e-8,), 1e-6, network="depth-2") + study(0.5, (1e-8,), 1e-6, network="depth-6")
    assert verdicts(records, DEEPER) == [NOISE]


def test_refused_cells_have_no_row_and_diverged_seeds_do_not_count():
    refused = [dict(r, status="refused", spectra=None) if r["step"] else r for r in study(0.5, (1e-4,))]
    assert verdicts(refused, FASTER) == []
    some = study(0.5, (1e-4,))
    some[0] = dict(some[0], decades=None, spectra=dict(some[0]["spectra"], end=None))
    assert verdicts(some, FASTER) == [HOLDS]
    assert training_claims(some)


def test_ranks_are_scipys_and_seeds_are_drawn_whole():
    rng = np.random.default_rng(2)
    first = rng.standard_normal((9, 3))
    second = first + rng.standard_normal((9, 3))
    found, low, high = rank_interval(first, second)
    assert found == pytest.approx(spearmanr(first.ravel(), second.ravel()).statistic, abs=1e-10)
    assert low < found < high
    # Ten equal columns hold no more seeds: the interval stays as wide.
    _, low_ten, high_ten = rank_interval(np.tile(first, (1, 10)), np.tile(second, (1, 10)))
    assert (low_ten, high_ten) == pytest.approx((low, high), abs=1e-9)
    first[0, 0] = np.nan
    assert rank_interval(first, second)[0] == pytest.approx(
        spearmanr(first[1:].ravel(), second[1:].ravel()).statistic, abs=1e-10
    )
    assert np.isnan(rank_interval(np.ones((9, 1)), np.arange(9.0)[:, None])).all()
    assert np.isnan(rank_interval(np.arange(7.0)[:, None], np.arange(7.0)[:, None])).all(), "too few seeds"


def test_the_summary_counts_settings_and_takes_the_verdict_of_half_of_them():
    claims = training_claims(study(0.5, (1e-4,), network="two-layer") + study(0.001, (1e-4,), network="depth-4"))
    (row,) = [row for row in training_summary(claims) if row.claim == FASTER]
    assert row.verdict == HOLDS and row.reason == "of 2 settings: holds in 1, does not hold in 1"
    assert (row.low, row.high) == pytest.approx((0.001, 0.5), abs=2e-3)
    assert row.measured == pytest.approx((row.low + row.high) / 2)
    assert row.interval == "least and largest setting"
    weaker = training_claims(study(0.5, (1e-8,), 1e-6, network="two-layer") + study(0.0, (1e-4,), network="depth-4"))
    (row,) = [row for row in training_summary(weaker) if row.claim == FASTER]
    assert row.verdict == NOISE
    settings = [row.setting for row in training_summary(weaker) if row.claim == ORDERED]
    assert settings == ["all networks, cuts above the floors", "all networks, cuts below a floor"]


def test_pairs_are_in_the_order_of_the_seeds():
    records = [{"seed": 2, "x": 3.0}, {"seed": 0, "x": 1.0}, {"seed": 1, "x": None}]
    assert np.array_equal(paired(records, lambda record: record["x"]), [1.0, np.nan, 3.0], equal_nan=True)


def test_a_run_that_diverged_is_infinitely_slow():
    records = study(0.0, (1e-4,))
    broken = [dict(r, status="diverged", decades=None) if r["step"] and r["seed"] else r for r in records]
    (row,) = [row for row in training_claims(broken) if row.claim == FASTER]
    assert row.measured == np.inf and row.seeds == 8 and row.verdict == HOLDS
    both = [dict(r, status="diverged", decades=None) for r in records]
    (row,) = [row for row in training_claims(both) if row.claim == FASTER]
    assert row.verdict == UNDECIDED and row.seeds == 0
