"""Self-similar profiles from start to end: found to the last digits, recorded, restarted, and refused where none is."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from dynamics.trajectory import open_trajectory
from dynamics.validation import validate
from solvers import MLP, RandomFeatures, TangentProp, train
from solvers.networks import Corrected, Odd
from solvers.networks.odd_features import OddFeatures
from solvers.optimizers import SSBroyden
from solvers.problems import poisson_1d, selfsimilar_burgers
from solvers.problems.self_similar_profile import SelfSimilarProfile
from solvers.profile import find_profile
from solvers.profile_judgement import judge_profile


def u_error(network, k):
    x = np.linspace(-2, 2, 777)
    with torch.no_grad():
        u = network(torch.from_numpy(x)[:, None])[:, 0].numpy()
    return np.abs(u - SelfSimilarProfile.smooth(k)(x)).max()


@pytest.mark.parametrize(("k", "lam_error", "profile_error"), [(1, 1e-14, 1e-13), (3, 1e-14, 1e-13), (6, 1e-12, 1e-11)])
def test_profiles_are_found_to_rounding(k, lam_error, profile_error):
    found = find_profile(k, seed=1)
    error = abs(found.coefficient - 1 / (2 * k + 2))
    assert found.accepted and found.acceptance.reasons == () and found.rejected == () and found.paths == ()
    assert error < lam_error and u_error(found.network, k) < profile_error
    assert error <= found.acceptance.bar < 1e3 * lam_error
    assert abs(found.first - 1 / (2 * k + 2)) > 1e-6
    assert found.loss < 1e-16 and 200 < found.evaluations < 7000 and 0 < found.seconds
    assert found.judged[-1].network is found.network and all(one.corrected for one in found.judged)


def test_a_recorded_search_leaves_a_valid_trajectory_a_training(tmp_path):
    folder = tmp_path / "new" / "k0"
    found = find_profile(0, record=folder)
    assert found.accepted and [path.parent for path in found.paths] == [folder] * 2
    assert sorted(found.paths) == sorted(folder.iterdir())
    values = []
    for path in found.paths:
        assert validate(path) == []
        with open_trajectory(path) as trajectory:
            assert trajectory.attrs["status"] == "complete"
            values.append(trajectory["coefficients"]["value"].values.reshape(-1))
    assert values[1][0] == pytest.approx(found.first, abs=1e-15) and values[1][-1] == found.coefficient
    assert len(values[0]) > 50
    with pytest.raises(FileExistsError):
        find_profile(0, record=folder, evaluations=5)
    short = find_profile(0, record=folder, overwrite=True, second_stage=False, evaluations=5, starts=1)
    assert short.paths == (folder / "start-0.h5",) and validate(short.paths[0]) == []


def test_a_seed_repeats_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    one, two, other = (find_profile(0, seed, second_stage=False, evaluations=15, starts=1) for seed in (3, 3, 4))
    assert one.coefficient == two.coefficient != other.coefficient
    assert torch.equal(torch.get_rng_state(), state)


def test_starts_that_are_refused_are_counted():
    found = find_profile(0, second_stage=False, evaluations=20, starts=3)
    assert not found.accepted and found.starts == 3
    assert len(found.rejected) == 2 and all(
        any("loss too high" in one for one in reasons) for reasons in found.rejected
    )
    assert 60 <= found.evaluations <= 3 * 40
    assert [one.start for one in found.judged] == [0, 1, 2]
    assert found.first == found.coefficient
    alone = find_profile(0, second_stage=False, evaluations=20, starts=1)
    assert alone.coefficient == found.judged[0].coefficient


def test_without_a_second_stage_a_profile_is_found_to_the_optimizers_end():
    found = find_profile(0, second_stage=False, evaluations=1500)
    assert found.accepted and found.starts == 1 and not found.judged[0].corrected
    assert abs(found.coefficient - 0.5) <= max(found.acceptance.bar, 1e-15) < 1e-5 and u_error(found.network, 0) < 1e-5
    # What is judged is the network that is handed out.
    assert judge_profile(selfsimilar_burgers(0), found.network, found.coefficient, found.loss) == found.acceptance


def test_the_second_stage_starts_from_what_the_first_one_was():
    found = find_profile(0, evaluations=200)
    assert type(found.network) is Corrected and type(found.network.network) is Odd
    assert u_error(found.network, 0) < 1e-13 < 1e-6 < u_error(found.network.network, 0)


def test_another_operator_may_take_the_first_stage():
    found = find_profile(0, operator=TangentProp(backend="taylor"))
    assert found.accepted and abs(found.coefficient - 0.5) < 1e-14


@pytest.mark.parametrize(("k", "interval"), [(0, (0.34, 0.45)), (1, (0.26, 0.32))])
def test_an_interval_without_a_smooth_profile_is_said_to_have_none(k, interval):
    found = find_profile(k, interval=interval, evaluations=30, starts=10)
    (reason,) = found.acceptance.reasons
    assert not found.accepted and found.starts == 1
    assert reason.startswith("no smooth profile in this interval") and "holds none of 1/2, 1/4" in reason
    assert reason.endswith(f"this run ended at lambda = {found.coefficient:.6g} with loss {found.loss:.1e}")
    assert interval[0] <= found.coefficient <= interval[1] and found.loss > 1e-16


def test_a_wider_interval_around_the_profile_serves_too():
    found = find_profile(0, interval=(0.3, 1.2))
    assert found.accepted and abs(found.coefficient - 0.5) < 1e-14


# Judging.


def test_the_trivial_solution_is_named():
    network = Odd(MLP(1, [6])).double()
    nn.init.zeros_(network.network[-1].weight)
    found = judge_profile(selfsimilar_burgers(0), network, 0.5, 1.0)
    assert not found.accepted and found.bar == math.inf
    assert found.reasons[0] == "the trivial solution U = 0: max |U| = 0.0e+00, U'(0) = 0.0e+00"


@pytest.mark.parametrize("k", [0, 2])
def test_a_polynomial_is_judged_by_its_coefficients(k):
    m, problem, lam = 2 * k + 3, selfsimilar_burgers(k), 1 / (2 * k + 2) + 1e-6
    # R_m = (lam (m - 1) - 1) u_m: the bar is the error of lambda, but for the rounding.
    found = judge_profile(problem, lambda x: -x + 0.25 * x**m, lam, 1e-9)
    assert found.accepted and found.bar == pytest.approx(1e-6, rel=1e-6)
    straight = judge_profile(problem, lambda x: -x, lam, 1e-9)
    assert not straight.accepted and straight.bar == math.inf and "bar too wide" in straight.reasons[0]


def test_a_diverged_run_is_no_mistake_and_no_solution():
    found = judge_profile(selfsimilar_burgers(0), lambda x: -x, math.nan, math.nan)
    assert not found.accepted and found.reasons[0].startswith("not finite")


def test_another_problem_has_no_kth_profile():
    with pytest.raises(ValueError, match="expected a problem from selfsimilar_burgers"):
        judge_profile(poisson_1d(), lambda x: x, 0.5, 0.0)


# What is refused.


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"k": -1}, "expected k = 0, 1, 2, ..., the number of the profile, came -1"),
        ({"k": 1.5}, "came 1.5"),
        ({"interval": (0.6, 0.4)}, "0 < low < high"),
        ({"starts": 0}, "at least one start, came 0"),
        ({"evaluations": 0}, "at least one evaluation, came 0: leave evaluations=None"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(given, expected):
    with pytest.raises(ValueError, match=expected):
        find_profile(**given)


def test_a_start_of_lambda_outside_its_interval_is_refused():
    with pytest.raises(ValueError, match="lambda: expected low <= start <= high"):
        selfsimilar_burgers(0, "trained", start=0.2)


def test_float32_is_refused_where_its_rounding_hides_lambda():
    network, single = Odd(MLP(1, [8])), {"steps": 3, "dtype": torch.float32}
    with pytest.raises(ValueError, match=r"expected a float64 network for k = 2, came float32.*leave dtype=torch.fl"):
        train(selfsimilar_burgers(2), network, TangentProp(), SSBroyden(), **single)
    run = train(selfsimilar_burgers(0), network, TangentProp(), SSBroyden(), **single)
    assert run.status == "complete" and math.isfinite(run.loss) and 1 / 3 <= run.coefficients["lambda"] <= 1


def test_an_even_network_is_refused():
    class Even(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = MLP(1, [8])

        def forward(self, x):
            return self.inner(x * x)

    with pytest.raises(ValueError, match=r"came an even one.*take Odd"):
        train(selfsimilar_burgers(0), Even(), TangentProp(), SSBroyden(), steps=2)


def test_a_correction_is_of_modules_and_leaves_the_first_network_alone():
    network = Odd(MLP(1, [4])).double()
    u = Corrected(network, OddFeatures(RandomFeatures(1, 5)))
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    assert torch.equal(u(x), network(x))
    assert [name for name, p in u.named_parameters() if p.requires_grad] == ["correction.features.coefficient"]
    with pytest.raises(ValueError, match=r"expected correction as a module, came float: give an nn\.Module"):
        Corrected(network, 0.5)
