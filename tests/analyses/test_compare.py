"""The command `pinnscope compare`: what may be compared, the table, and a verdict that knows noise from mathematics."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from analyses.cli import app
from analyses.comparable import also_differ, causes, differences, same_problem, variant
from analyses.compare import compare_files
from analyses.verdict import spectral_verdict, verdict
from dynamics import Recorder, open_trajectory
from dynamics.format import Stream
from dynamics.report.facts import reached

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
        if "loss_raw" in series:
            recorder.declare(Stream("series", coords={"term": ["interior"]}))
        recorder.record("series", 0, loss=1e-4, rel_l2=error, **series)
        if values is not None:
            recorder.record("spectra", 0, singular_value=values, floor=2e-16 * values[0])
    return path


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, ["compare", *map(str, words)])


def named(tmp_path, **other):
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
        ({"problem": PROBLEM | {"settings": {"mode": 2}}}, ["problem mode: 1 / 2"]),
        ({"problem": PROBLEM | {"upper": [2.0]}}, ["problem upper: [1.0] / [2.0]"]),
    ],
)
def test_each_difference_is_named_and_operators_may_differ(tmp_path, other, expected):
    assert named(tmp_path, **other) == expected


BURGERS = {"name": "burgers", "axes": ["x"], "lower": [-1.0], "upper": [1.0], "settings": {"viscosity": 0.01}}
TOLD = {"equation": "u_t + u u_x = 0.01 u_xx", "floor_origin": "two methods", "solution_floor": 1e-10}
RECIPE = {"name": "burgers", "key": "0123456789ab", "method": "ETDRK4"}
NEW = BURGERS | TOLD | {"reference": RECIPE}


def stated(problem):
    return xr.DataTree(xr.Dataset(attrs={"config": {"problem": problem}}))


@pytest.mark.parametrize(
    ("first", "second", "refused", "noted"),
    [
        (NEW, NEW, [], []),
        (BURGERS, NEW, [], []),
        (BURGERS | {"solution_floor": 1e-10}, NEW, [], []),
        (BURGERS | {"solution_floor": 1e-7}, NEW, [], ["reference floor: 1e-07 / 1e-10"]),
        (BURGERS | {"solution_floor": None}, NEW, [], []),
        (BURGERS | {"solution_floor": np.nan}, BURGERS | {"solution_floor": np.nan}, [], []),
        (NEW | {"floor_origin": "three"}, NEW, [], []),
        (NEW, NEW | {"reference": RECIPE | {"method": "other"}}, [], []),
        (NEW, NEW | {"reference": RECIPE | {"key": "ba"}}, ["problem reference key: 0123456789ab / ba"], []),
        (
            NEW,
            NEW | {"reference": RECIPE | {"key": "ba"}, "solution_floor": 1e-12},
            [],
            ["reference floor: 1e-10 / 1e-12", "reference key: 0123456789ab / ba"],
        ),
        (
            NEW,
            NEW | {"reference": RECIPE | {"name": "other", "key": "ba"}, "solution_floor": 1e-12},
            ["problem reference name: burgers / other", "problem reference key: 0123456789ab / ba"],
            ["reference floor: 1e-10 / 1e-12"],
        ),
        (NEW, NEW | {"equation": "u_t = 0"}, [f"problem equation: {TOLD['equation']} / u_t = 0"], []),
        (NEW, NEW | {"settings": {"viscosity": 0.02}}, ["problem viscosity: 0.01 / 0.02"], []),
        (NEW | {"settings": {"mode": 1}}, NEW | {"settings": {"mode": 1.0}}, [], []),
        (NEW | {"settings": {}}, NEW | {"settings": None}, [], []),
        (NEW | {"settings": "odd"}, NEW, ["problem settings: odd / None", "problem viscosity: None / 0.01"], []),
        (NEW, NEW | {"upper": [0.99]}, ["problem upper: [1.0] / [0.99]"], []),
        (NEW, NEW | {"shape": "Disk()"}, ["problem shape: None / Disk()"], []),
    ],
)
def test_variants_are_told_apart_and_better_references_are_not(first, second, refused, noted):
    pair = stated(first), stated(second)
    assert differences(*pair) == refused and also_differ(*pair) == noted
    assert same_problem(*pair) == (not refused)
    assert causes(noted) == (["reference"] if noted else [])


def test_a_refusal_says_which_variant_each_is(command):
    write("a.h5", problem=NEW)
    write("b.h5", problem=NEW | {"settings": {"viscosity": 0.01 / np.pi, "cubic": 5}, "upper": [0.99]})
    write("c.h5", problem=NEW, dtype="float32")
    (line,) = command("a.h5", "b.h5").stderr.splitlines()
    assert "a.h5 is burgers (viscosity 0.01, x in [-1, 1], reference 0123456789ab); " in line
    assert "b.h5 is burgers (viscosity 0.0031831, cubic 5, x in [-1, 0.99], reference 0123456789ab); " in line
    assert "problem viscosity: 0.01 / 0.003183098861837907" in line and "--anyway" in line
    assert " is burgers" not in command("a.h5", "c.h5").stderr
    assert variant(xr.DataTree()) == "unnamed" and variant(stated("heat")) == "heat"


def test_runs_of_a_better_reference_compare_with_a_note(command):
    write("old.h5", problem=BURGERS | {"solution_floor": 1e-5}, error=2e-5)
    write("new.h5", problem=NEW, error=1e-5)
    result = command("old.h5", "new.h5")
    assert result.exit_code == 0, result.output
    assert "they also differ: reference floor: 1e-05 / 1e-10" in result.output
    assert "<= 1.0e-05" in result.output and "1.00e-05" in result.output


def test_every_error_is_printed_above_its_own_floor(tmp_path, capsys):
    paths = []
    # Three floors are 3e-7, of the largest error 6e-7.
    for name, factor in (("below", 0.99), ("above", 1.01)):
        path = tmp_path / f"{name}.h5"
        with Recorder(path, config={"problem": BURGERS | {"solution_floor": 1e-7}}) as recorder:
            scale = {"solution_max": 2.0}
            recorder.declare(Stream("series", coords={"band": ["low", "middle", "high"]}, attrs=scale))
            bands = [3e-7 * factor, 5e-6, 3e-7 * factor]
            recorder.record("series", 0, rel_l2=3e-7 * factor, max_error=6e-7 * factor, error_band=bands)
            recorder.record("series", 1, loss=1.0)
        paths.append(path)
    told = compare_files(*paths)
    assert told["relative L2 error"] == ("<= 1.0e-07 (at the reference's floor)", "3.03e-07")
    assert told["largest error"] == ("<= 2.0e-07", "6.06e-07")
    bands = [told[f"L2 error in {waves} waves"] for waves in ("0-4", "5-12", "13+")]
    assert bands == [("<= 1.0e-07", "3.03e-07"), ("5.00e-06", "5.00e-06"), ("<= 1.0e-07", "3.03e-07")]
    assert told["runs"][0]["error_bands"] == pytest.approx({"low": 2.97e-7, "middle": 5e-6, "high": 2.97e-7})
    assert max(map(len, capsys.readouterr().out.split("verdict")[0].splitlines()[1:])) <= 80
    with open_trajectory(paths[0]) as tree:
        rows = {name: (last, least) for name, last, least in reached(tree)}
    assert rows["largest error"] == ("<= 2.0e-07, the reference's floor (0)", "")
    assert rows["L2 error in 0-4 waves"] == ("<= 1.0e-07, the reference's floor (0)", "")
    assert rows["L2 error in 5-12 waves"] == ("5.00e-06 (0)", "5.00e-06 (0)")


def test_files_without_a_scale_have_no_floor_of_the_largest_error(tmp_path):
    with Recorder(tmp_path / "a.h5", config={"problem": BURGERS | {"solution_floor": 1.0}}) as recorder:
        recorder.record("series", 0, rel_l2=1.0, max_error=1e-9)
    told = compare_files(tmp_path / "a.h5", tmp_path / "a.h5")
    assert told["largest error"] == ("1.00e-09", "1.00e-09")
    assert not any("waves" in name for name in told)


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


def shifted(*shifts):
    """Two spectra of equal counts, ten values a decade: of the second some are moved, those above 1e-8 are trusted."""
    values = 10.0 ** -(np.arange(120) / 10)
    moved = values.copy()
    for index, shift in shifts:
        moved[index] *= 1 - shift
    return spectrum(values, 1e-10), spectrum(moved, 1e-10)


@pytest.mark.parametrize(
    ("shifts", "said"),
    [
        ([], " (values trusted in both are equal)"),
        ([(30, 4e-4)], " (values trusted in both agree to 4e-04)"),
        ([(30, 0.0199)], " (values trusted in both agree to 2e-02)"),
        ([(30, 4e-4), (110, 0.1)], " (values trusted in both agree to 4e-04)"),
        ([(30, 0.021)], ", but values trusted in both differ by up to 2.1 %: that is mathematics"),
        ([(30, 0.1), (50, 0.15)], ", but values trusted in both differ by up to 15 %: that is mathematics"),
    ],
)
def test_values_right_to_one_percent_that_differ_by_more_are_mathematics(shifts, said):
    line = spectral_verdict(shifted(*shifts), LABELS)
    assert line.startswith("their spectra keep the same counts at every cut" + said)
    assert ("not round-off" in line) == ("mathematics" in said)
    assert "trusted in both" not in spectral_verdict((shifted()[0], spectrum(10.0 ** -np.arange(9.0), 1.0)), LABELS)


def test_two_percent_is_also_said_where_the_counts_part_in_the_noise():
    values = 10.0 ** -np.arange(12.0)
    noisy = np.sort(np.append(values * (1 - 0.07 * (np.arange(12) == 3)), np.full(30, 3e-9)))[::-1]
    said = spectral_verdict((spectrum(values), spectrum(noisy, 1e-8)), LABELS)
    above, _, below = said.partition("; below it ")
    assert "differ by up to 7 %: that is mathematics" in above and "round-off of its entries" in below


MLP = {"name": "MLP", "parameters": {"w": [3, 4], "b": [3]}, "text": "MLP(\n  (0): Tanh()\n)"}
DIFFERENCES = {"name": "FiniteDifference", "order": 2, "step": 0.1}


def run(*, network=None, case=None, seed=0, weight=1.0, method="Adam", operator=None, matrix=None, step=7, **more):
    """A training of two steps as it is recorded, with only what `also_differ` reads."""
    config = {
        "problem": PROBLEM,
        "network": network or MLP,
        "case": {"network": case or {"name": "mlp", "widths": [3]}},
        "optimizer": method,
        "operator": operator or {"name": "AutoDiff", "exact": True},
    } | more
    weights = np.array([[weight, 2.0], [99.0 * seed, 2.0]])
    series = {"loss_weight": (("step", "term"), weights), "rel_l2": ("step", [0.1, 1e-3 * (1 + seed)])}
    attrs = {"matrix": "Jacobian", "rows": 4, "columns": 3, "conditions": "included"} | (matrix or {})
    columns = {"singular_value": (("step", "index"), np.tile([2.0, 1.0, 0.5], (2, 1))), "floor": ("step", [1e-15] * 2)}
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs={"config": config, "dtype": "float64", "seed": seed}),
            "series": xr.Dataset(series, {"step": [0, step], "term": ["interior", "boundary"]}),
            "spectra": xr.Dataset(columns, {"step": [0, step]}, attrs),
        }
    )


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, {}, []),
        ({}, {"operator": DIFFERENCES}, []),
        ({"operator": DIFFERENCES}, {"operator": DIFFERENCES | {"step": 0.2}}, ["operator step: 0.1 / 0.2"]),
        ({}, {"seed": 3}, ["seed: 0 / 3"]),
        ({}, {"weight": 100.0}, ["weight of interior: 1 / 100"]),
        ({}, {"method": "L-BFGS"}, ["method: Adam / L-BFGS"]),
        ({}, {"attention": {"eta": 0.1}}, ["method attention: None / eta=0.1"]),
        ({}, {"case": {"name": "mlp", "widths": [3, 3]}}, ["network widths: [3] / [3, 3]"]),
        ({}, {"network": MLP | {"parameters": {"w": [5, 4]}}}, ["network parameters: 15 / 20"]),
        ({}, {"network": MLP | {"text": "MLP(\n  (0): Sin()\n)"}}, ["network: (0): Tanh() / (0): Sin()"]),
        ({}, {"network": MLP | {"name": "KAN"}, "case": {"name": "kan", "grid": 5}}, ["network name: MLP / KAN"]),
        ({}, {"matrix": {"rows": 5}}, ["matrix shape: 4 x 3 / 5 x 3"]),
        ({}, {"matrix": {"conditions": "left out"}}, ["matrix conditions: included / left out"]),
        ({}, {"matrix": {"matrix": "system", "conditions": "left out"}}, ["matrix: Jacobian / system"]),
        ({}, {"step": 8}, ["spectrum of step: 7 / 8", "last step: 7 / 8"]),
    ],
)
def test_what_else_differs_is_named_and_may_be_why(first, second, expected):
    pair = run(**first), run(**second)
    assert also_differ(*pair) == expected
    line = verdict(*pair, LABELS)
    assert ("where they disagree, what else differs may be why" in line) == bool(expected)
    assert all(name in line.split("may be why: ")[-1].split(", ") for name in causes(expected))


def test_files_that_tell_nothing_differ_in_nothing():
    assert also_differ(xr.DataTree(), xr.DataTree()) == [] == also_differ(run(), run())


def test_what_else_differs_is_printed_and_not_refused(command):
    for name, seed in (("a.h5", 1), ("b.h5", 2)):
        with Recorder(name, config={"problem": PROBLEM}, attrs={"dtype": "float64", "seed": seed}) as recorder:
            recorder.record("series", 0, loss=1e-4, rel_l2=1e-6 * seed)
    result = command("a.h5", "b.h5")
    assert result.exit_code == 0, result.output
    assert result.output.index("they also differ: seed: 1 / 2") < result.output.index("relative L2 error")
    assert "what else differs may be why: seed" in result.output


def test_errors_of_two_problems_are_not_weighed():
    line = verdict(run(), run(problem=PROBLEM | {"name": "heat"}), LABELS)
    assert "more accurate cannot be said of two problems" in line and "factor" not in line
    assert "their spectra keep the same counts" in line and line.endswith("may be why: problem")


def test_spectra_of_two_kinds_of_matrix_are_not_weighed():
    line = verdict(run(), run(matrix={"matrix": "system", "rows": 9}, seed=1), LABELS)
    assert "AD is more accurate, by a factor of 2" in line
    assert "two kinds of matrix, and not compared" in line and "counts" not in line and "part" not in line
    unnamed = run()
    del unnamed["spectra"].attrs["matrix"]
    assert "same counts" in verdict(unnamed, run(), LABELS)
    neither = verdict(run(), run(matrix={"matrix": "system"}, problem=PROBLEM | {"name": "heat"}), LABELS)
    assert "may be why" not in neither, "nothing was compared"


def test_what_was_not_recorded_names_the_probe_that_does(command):
    write("ad.h5", error=np.nan, loss_raw=np.array([4e-8]))
    write("fd.h5", operator="FiniteDifference", loss_raw=np.array([4e-8]))
    output = " ".join(command("ad.h5", "fd.h5").output.split())
    assert "no exact residual of FiniteDifference: the probe solvers.probes.exact_loss measures it" in output
    assert "which is more accurate is unknown: AutoDiff recorded no finite error" in output
    assert "solvers.probes.errors" in output
    write("both.h5", loss_raw=np.array([4e-8]))
    assert "probes" not in command("both.h5", "both.h5").output


def test_json_is_the_table_in_numbers(command):
    write("ad.h5", values=np.array([2.0, 2e-4]), error=1e-9, loss_raw=np.array([4e-8]))
    write("fd.h5", operator="FiniteDifference", values=np.array([2.0, 2e-9]), error=np.nan, dtype="float32")
    assert command("ad.h5", "fd.h5", "--json").exit_code == 2
    result = command("ad.h5", "fd.h5", "--json", "--anyway", "--figure", "both.png")
    told = json.loads(result.stdout, parse_constant=pytest.fail)
    first, second = told["runs"]
    assert (first["path"], first["label"], second["label"]) == ("ad.h5", "AutoDiff", "FiniteDifference")
    assert (first["relative_l2_error"], second["relative_l2_error"]) == (1e-9, None)
    assert first["own_residual"] == pytest.approx(2e-4) and second["exact_residual"] is None
    assert [cut["kept"] for cut in first["spectrum"]["cuts"]] == [1, 1] + [2] * 12
    assert [cut["a"] for cut in second["spectrum"]["cuts"]] == [float(f"1e-{k}") for k in range(2, 16)]
    assert first["spectrum"]["svd_floor"] == 2e-16 and first["spectrum"]["trusted"] == 2
    assert (
        told["differences"] == ["precision: float64 / float32"]
        and told["verdict"] in command("ad.h5", "fd.h5", "--anyway").output
    )


def test_a_diverged_run_is_not_judged_by_its_last_finite_error():
    better, worse = (xr.Dataset({"rel_l2": ("step", [1.0, error])}) for error in (1e-5, 1e-3))
    trees = [xr.DataTree.from_dict({"series": series}) for series in (better, worse)]
    trees[0].attrs["status"] = "diverged"
    assert verdict(*trees, ("A", "B")) == "A diverged: its last numbers are no result"


def test_spectra_of_unknown_floor_are_not_judged():
    def spectrum(values, floor):
        columns = {"singular_value": ("index", values), "trusted": ("index", np.array(values) > 100 * floor)}
        return xr.Dataset(columns | {"svd_floor": 1e-16, "entry_floor": floor})

    noisy = spectrum([1.0, 1e-4, 1e-8, 1e-8], np.nan), spectrum([1.0, 1e-4], 0.0)
    assert spectral_verdict(noisy, ("A", "B")).startswith("the floor of A is not known")


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        ((315.4, 191.2, 381.6), "step 315 (191 to 382)"),
        ((315.4, 191.2, np.inf), "step 315 (191 or later)"),
        ((np.nan, np.nan, np.nan), "not seen"),
        (None, "-"),
    ],
)
def test_total_diffusion_is_told_with_its_interval(monkeypatch, capsys, ends, told):
    sample = Path(__file__).parents[2] / "data" / ("poisson-fd.h5" if ends is None else "helmholtz-rba.h5")
    columns = {
        name: ("phase", [value]) for name, value in zip(("onset", "onset_low", "onset_high"), ends or (), strict=False)
    }
    monkeypatch.setattr(
        "analyses.compare.detect_phases", lambda tree: xr.Dataset(columns, {"phase": ["total_diffusion"]})
    )
    found = compare_files(sample, sample)
    assert found.get("total diffusion", ("-", "-")) == (told, told)
    assert ("total diffusion" in capsys.readouterr().out) == (ends is not None)
