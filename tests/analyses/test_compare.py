"""The command `pinnscope compare`: what may be compared, the table, and a verdict that knows noise from mathematics."""

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from analyses.cli import app
from analyses.comparable import differences
from analyses.compare import compare_files
from analyses.verdict import spectral_verdict, verdict
from dynamics import Recorder

LABELS = ("AD", "FD")
PROBLEM = {"name": "poisson-1d", "lower": [-1.0], "upper": [1.0], "settings": {"mode": 1}, "solution_floor": 1e-12}
GRID = np.linspace(-1.0, 1.0, 20)[:, None]


def write(
    path, *, operator="AutoDiff", problem=PROBLEM, points=GRID, dtype="float64", values=None, error=1e-6, **series
):
    config = {"problem": problem, "operator": {"name": operator, "exact": operator == "AutoDiff"}}
    config["points"] = {"interior": len(points)}
    with Recorder(path, config=config, attrs={"dtype": dtype}) as recorder:
        recorder.store("points", interior=(("interior_point", "axis"), points), coords={"axis": ["x"]})
        recorder.record("series", 0, loss=1e-4, rel_l2=error, **series)
        if values is not None:
            recorder.record("spectra", 0, singular_value=values, floor=2e-16 * values[0])
    return path


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, ["compare", *map(str, words)])


def named(tmp_path, **other):
    from dynamics import open_trajectory

    write(tmp_path / "a.h5")
    write(tmp_path / "b.h5", **other)
    with open_trajectory(tmp_path / "a.h5") as a, open_trajectory(tmp_path / "b.h5") as b:
        return differences(a, b)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({}, []),
        ({"operator": "FiniteDifference", "error": 1.0}, []),
        ({"dtype": "float32"}, ["precision: float64 / float32"]),
        ({"points": GRID.astype("f4"), "dtype": "float32"}, ["precision: float64 / float32"]),
        ({"points": GRID[:-1]}, ["points: interior: 20 / 19"]),
        ({"points": GRID * (1 + 4e-16)}, []),
        ({"problem": PROBLEM | {"settings": {"mode": 2}}}, ["problem settings: {'mode': 1} / {'mode': 2}"]),
        ({"problem": PROBLEM | {"upper": [2.0]}}, ["problem upper: [1.0] / [2.0]"]),
    ],
)
def test_each_difference_is_named_and_operators_may_differ(tmp_path, other, expected):
    assert named(tmp_path, **other) == expected


def test_points_at_other_places_are_told_from_rounding(tmp_path):
    moved = GRID.copy()
    moved[7] += 3e-9
    assert named(tmp_path, points=moved) == [
        "points: interior lie up to 3.0e-09 apart (the same number at other places)"
    ]


def test_points_that_are_nan_are_not_the_same(tmp_path):
    assert "apart" in named(tmp_path, points=GRID * np.nan)[0]


def test_counts_of_the_configuration_stand_in_for_points_that_were_not_stored():
    trees = [xr.DataTree(xr.Dataset(attrs={"config": {"points": {"interior": count}}})) for count in (10, 20)]
    assert differences(*trees) == ["points interior: 10 / 20"]


def test_several_differences_are_refused_together_and_printed_when_told_to(command):
    write("a.h5", values=np.array([1.0, 1e-3]))
    write("b.h5", problem=PROBLEM | {"name": "burgers"}, points=GRID[:5], dtype="float32", values=np.array([1.0, 1e-5]))
    result = command("a.h5", "b.h5")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    parts = ("name: poisson-1d / burgers", "interior: 20 / 5", "precision: float64 / float32")
    for part in (*parts, "--anyway"):
        assert part in line
    told = command("a.h5", "b.h5", "--anyway")
    assert told.exit_code == 0, told.output
    for part in parts:
        assert told.output.index(part) < told.output.index("relative L2 error")


def test_the_table_has_residuals_side_by_side_and_every_cut(tmp_path, capsys):
    loss = {"loss_raw": np.array([4e-8]), "exact_loss": 9e-4}
    first = write(tmp_path / "ad.h5", values=np.array([2.0, 2e-4]), error=1e-9)
    second = write(tmp_path / "fd.h5", operator="FiniteDifference", values=np.array([2.0, 2e-9]), error=2e-4, **loss)
    told = compare_files(first, second)
    assert told["relative L2 error"] == ("1.00e-09", "2.00e-04")
    cuts = {name: pair for name, pair in told.items() if name.startswith("K, H")}
    assert len(cuts) == 14 and "K, H at a = 1e-02" in cuts and "K, H at a = 1e-15" in cuts
    assert told["K, H at a = 1e-08"][0].startswith("2, ") and told["K, H at a = 1e-08"][1] == "1, 0.0000"
    assert not told["K, H at a = 1e-15"][0].endswith("*"), "both floors are 2e-16 of sigma_1"
    assert told["trusted, marginal, noise"] == ("2, 0, 0", "2, 0, 0")
    assert max(map(len, capsys.readouterr().out.split("verdict")[0].splitlines()[1:])) <= 80


def training(own, exact, error, floor=1e-12):
    series = {"rel_l2": ("step", [np.nan, error]), "loss_raw": (("step", "term"), [[1.0], [own**2]])}
    series["exact_loss"] = ("step", [np.nan, exact**2])
    config = {"problem": {"solution_floor": floor}, "operator": {"name": "FiniteDifference"}}
    data = xr.Dataset(series, {"step": [0, 1], "term": ["interior"]})
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs={"config": config}), "series": data})


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ((1e-8, 1e-8, 1e-10), (1e-9, 1e-5, 2e-7), "AD is more accurate, by a factor of 2e+03: FD fits its own"),
        ((1e-4, 1e-4, 1e-3), (1e-9, 1e-5, 2e-7), "FD is more accurate, by a factor of 5e+03"),
        ((1e-8, 1e-8, 2e-12), (1e-9, 1e-5, 1e-15), "both are at the reference's floor"),
        ((1e-8, 1e-8, 1e-3), (1e-9, 1e-5, 1.05e-3), "both are equally accurate"),
        ((1e-8, 1e-8, 1e-3), (1e-9, 1e-5, 1e-15), "FD is more accurate, by a factor of 1e+09"),
    ],
)
def test_which_is_more_accurate_and_why(first, second, said):
    line = verdict(training(*first), training(*second), LABELS)
    assert line.startswith(said) and "\n" not in line
    assert ("own discrete system" in line) == ("own" in said)


def test_nothing_in_common_is_said():
    assert verdict(xr.DataTree(), training(1.0, 1.0, 1.0), LABELS) == "no common measure of success was recorded"


def spectrum(values, entries=0.0, svd=1e-16):
    values = np.sort(values)[::-1]
    columns = {"singular_value": ("index", values), "svd_floor": svd * values[0], "entry_floor": entries}
    return xr.Dataset(columns | {"trusted": ("index", values > 100 * (entries + svd * values[0]))})


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("size", [1e-10, 1e-6])
def test_noise_is_never_taken_for_mathematics(seed, size):
    """U diag(sigma) V^T plus a full-rank perturbation whose 2-norm is known: what the floor says, and nothing else."""
    random = np.random.default_rng(seed)
    left, right = (np.linalg.qr(random.standard_normal((rows, 60)))[0] for rows in (120, 60))
    sigma = 10.0 ** -np.linspace(0, 30, 60)
    noise = random.standard_normal((120, 60))
    noise *= size / np.linalg.norm(noise, 2)
    noisy = np.linalg.svd(left * sigma @ right.T + noise, compute_uv=False)
    said = spectral_verdict((spectrum(sigma), spectrum(noisy, entries=size)), LABELS)
    assert said.startswith("their spectra keep the same counts down to a = ")
    assert "FD keeps more singular values, which are round-off of its entries" in said
    assert size / 30 < float(said.split("a = ")[1].split()[0]) <= size


def test_round_off_of_the_svd_has_its_own_name():
    steep = 10.0 ** -np.arange(30.0)
    noisy = np.maximum(steep, 1e-9)
    said = spectral_verdict((spectrum(steep), spectrum(noisy, entries=1e-10, svd=2e-9)), LABELS)
    assert "FD keeps more singular values, which are round-off of its SVD (floor 2e-09)" in said


@pytest.mark.parametrize("order", [0, 1])
def test_truncation_above_both_floors_is_mathematics(order):
    steep, flat = 10.0 ** -np.arange(30.0), 10.0 ** -(np.arange(30.0) / 2)
    pair = (spectrum(steep, 1e-12), spectrum(flat, 1e-9))
    said = spectral_verdict(pair[:: 1 - 2 * order], LABELS[:: 1 - 2 * order])
    assert "above both floors, where FD keeps more: that is mathematics" in said
    cut = float(said.split("a = ")[1].split(",")[0])
    # K = 1 + floor(-log a) and 1 + floor(-2 log a): first apart by two, more than the tolerance of 1.1, at a = 1e-2,
    # or at 10^-1.5, where the second is 4 and the first 2.
    assert cut == pytest.approx(10**-1.5, rel=0.1)


def test_a_difference_below_one_floor_only_is_left_undecided():
    said = spectral_verdict((spectrum(10.0 ** -np.arange(20.0)), spectrum(10.0 ** -np.arange(10.0), 1e-8)), LABELS)
    assert "mathematics" not in said and "can explain the difference" in said


def test_equal_counts_do_not_hide_a_shift_of_what_is_trusted():
    values, shift = 10.0 ** -np.arange(20.0), np.ones(20)
    shift[[3, 15]] = 1 - 4e-4, 0.5
    said = spectral_verdict((spectrum(values), spectrum(values * shift, 1e-11)), LABELS)
    assert said == "their spectra keep the same counts at every cut (values trusted in both agree to 4e-04)"
    assert "trusted in both" not in spectral_verdict((spectrum(values), spectrum(values, 1.0)), LABELS)
