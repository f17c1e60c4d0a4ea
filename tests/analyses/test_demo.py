"""The demonstration in its quick form: one number of each part."""

import numpy as np
import pytest

from analyses.demo import demo
from dynamics import detect_phases, open_trajectory, validate


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    return demo(tmp_path_factory.mktemp("demo"), quick=True)


def test_exact_derivatives_reach_round_off_and_differences_their_truncation(shown):
    with open_trajectory(shown["poisson-ad"]) as exact, open_trajectory(shown["poisson-fd"]) as differences:
        assert float(exact["series/rel_l2"][0]) < 1e-10
        # h^2 u'''' / (12 u'') with h = 1e-3 and u = sin(pi x): pi^2 1e-6 / 12.
        assert float(differences["series/rel_l2"][0]) == pytest.approx(np.pi**2 * 1e-6 / 12, rel=0.05)


def test_differences_keep_more_singular_values_and_all_of_them_are_noise(shown):
    kept = {name: pair for name, pair in shown["comparison"].items() if name.startswith("K, H")}
    exact, differences = (int(text.split(",")[0]) for text in kept["K, H at a = 1e-12"])
    assert exact < 30 and differences == 100
    assert kept["K, H at a = 1e-12"][1].endswith("*") and not kept["K, H at a = 1e-12"][0].endswith("*")
    assert kept["K, H at a = 1e-08"][0] == kept["K, H at a = 1e-08"][1]
    assert "round-off of its entries" in shown["comparison"]["verdict"]


def test_helmholtz_reaches_total_diffusion(shown):
    with open_trajectory(shown["helmholtz-rba"]) as tree:
        found = detect_phases(tree)
        assert 200 < float(found["onset"].sel(phase="total_diffusion")) < 600
        assert float(tree["series/rel_l2"][-1]) < 0.3
        assert tree.attrs["dtype"] == "float32" and tree.attrs["seed"] == 1
    (finding,) = [f for f in shown["findings"]["helmholtz-rba"] if f.name == "phase"]
    assert finding.severity == "info" and "total diffusion reached" in finding.message


def test_burgers_is_still_far_from_its_solution(shown):
    with open_trajectory(shown["burgers-adam"]) as tree:
        assert tree["series"].sizes["step"] == 51
        assert 0.1 < float(tree["series/rel_l2"][-1]) < 1.0


def test_everything_it_wrote_is_valid(shown):
    folder = shown["burgers-adam"].parent
    for path in folder.glob("*.h5"):
        assert validate(path) == []
    assert sorted(path.name for path in folder.glob("*.png")) == [
        "burgers-adam.png",
        "helmholtz-rba.png",
        "poisson-ad-and-fd.png",
    ]


def test_it_refuses_to_overwrite(shown):
    with pytest.raises(FileExistsError, match="--overwrite"):
        demo(shown["burgers-adam"].parent, quick=True)
