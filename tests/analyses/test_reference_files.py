"""Reference files: what they solve is told from their values, wrong ones are refused, distances are what they are."""

import json
import math
import os
import re
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import typer
from scipy.fft import fft, fftfreq, ifft
from scipy.integrate import solve_ivp
from scipy.io import savemat
from typer.testing import CliRunner

from analyses.reproduce import reference_files
from analyses.reproduce.reference_files_distance import EARLY, LAYER, SHOCK, bounded, measure
from analyses.reproduce.reference_files_equation import fits
from analyses.reproduce.reference_files_examined import examine
from analyses.reproduce.reference_files_figures import errors_figure, near_figure, spectra_figure
from analyses.reproduce.reference_files_identity import identify, with_bar
from analyses.reproduce.reference_files_modes import amplitude, modes, period_points, trigonometric
from analyses.reproduce.reference_files_published import KNOWN, SCORES
from analyses.reproduce.reference_files_reading import read_reference
from analyses.reproduce.reference_files_starts import starts
from solvers.problems.burgers import cole_hopf
from solvers.references.etdrk4 import etdrk4

X, T = np.linspace(-1, 1, 129), np.linspace(0, 1, 51)
NU = 0.01 / math.pi
HERE = Path(reference_files.__file__).parent
RESULTS = HERE / "results" / "reference-files"


@cache
def known(nu):
    return cole_hopf(*np.meshgrid(X, T, indexing="ij"), nu)


def burgers(nu=NU, x=X, t=T):
    if x is X and t[-1] <= 1 and np.array_equal(t, T[: len(t)]):
        return known(nu)[:, : len(t)].copy()
    return cole_hopf(*np.meshgrid(x, t, indexing="ij"), nu)


def spectral(name, value, modes=512, times=51, steps=10):
    """Values at 129 points of a run with cosines and sines, independent of the references."""
    wave = np.pi * np.fft.rfftfreq(modes, 1 / modes)
    x = -1 + 2 * np.arange(modes) / modes
    if name == "allen-cahn":
        linear, start = 5 - value * wave**2, x**2 * np.cos(np.pi * x)
    else:
        linear, start = 1j * value**2 * wave**3, np.cos(np.pi * x)

    def nonlinear(state):
        u = np.fft.irfft(state, modes)
        return -5 * np.fft.rfft(u**3) if name == "allen-cahn" else -0.5j * wave * np.fft.rfft(u**2)

    march = etdrk4(linear, nonlinear, np.fft.rfft(start), 1 / (steps * (times - 1)), steps * (times - 1))
    u = np.array([np.fft.irfft(state, modes) for n, state in enumerate(march) if n % steps == 0]).T
    return np.vstack([u, u[:1]])[:: modes // 128]


@pytest.fixture(scope="module")
def solved():
    return {"burgers": burgers(), "allen-cahn": spectral("allen-cahn", 1e-4), "kdv": spectral("kdv", 0.022, 256)}


def saved(folder, **arrays):
    path = folder / "file.npz"
    np.savez(path, **arrays)
    return path


def identified(folder, name=None, coefficient=None, **arrays):
    return identify(read_reference(saved(folder, **arrays)), name, coefficient)


@pytest.mark.parametrize("nu", [0.003, NU, 0.01, 0.03, 0.1])
def test_the_viscosity_is_fitted_within_its_bar(nu):
    best, rival, _ = fits(X, T, burgers(nu))
    assert best.problem == "burgers" and abs(best.coefficient - nu) < 2.5 * best.bar + 1e-12 < 1e-4 * nu
    assert abs(best.rate - 1) < 2.5 * best.rate_bar + 1e-12 and rival.misfit > 100 * best.misfit


@pytest.mark.parametrize(("name", "value"), [("allen-cahn", 1e-4), ("allen-cahn", 3e-4), ("allen-cahn", 1e-3)])
def test_the_diffusion_is_fitted_within_its_bar(name, value):
    best, rival, _ = fits(X, T, spectral(name, value))
    assert best.problem == name and abs(best.coefficient - value) < 2.5 * best.bar < 1e-3 * value
    assert abs(best.rate - 5) < 1e-6 and rival.misfit > 100 * best.misfit


@pytest.mark.parametrize("mu", [0.022, 0.05])
def test_the_dispersion_is_fitted_within_its_bar(mu):
    best = fits(X, T, spectral("kdv", mu, 256))[0]
    assert best.problem == "kdv" and abs(best.coefficient - mu**2) < 2.5 * best.bar < 1e-3 * mu**2


def test_the_fit_converges_with_the_differences_of_order_8():
    # Smooth all over: no weight is small, so the error is that of the differences.
    errors = []
    for nx, nt in ((33, 26), (65, 51)):
        x, t = np.linspace(-1, 1, nx), np.linspace(0, 0.5, nt)
        errors.append(abs(fits(x, t, burgers(0.3, x, t))[0].coefficient - 0.3))
    assert errors[0] > 100 * errors[1] > 0


def test_a_shock_below_the_grid_does_not_spoil_the_fit():
    fit = fits(X[::2], T, burgers(0.003)[::2])[0]
    assert fit.problem == "burgers" and abs(fit.coefficient / 0.003 - 1) < 1e-3


def test_bars_are_in_the_last_digit():
    assert with_bar(0.0031831, 2e-7) == "0.0031831(2)" and with_bar(2.0, math.inf).startswith("2(")
    assert with_bar(123.0, 40.0) == "123(4e+01)"


@pytest.mark.parametrize("name", ["burgers", "allen-cahn", "kdv"])
def test_every_problem_is_told_from_its_values(name, solved, tmp_path):
    for u in (solved[name], solved[name].T):
        found = identified(tmp_path, x=X, t=T, usol=u)
        assert found.problem.name == name and np.array_equal(found.file.u, solved[name])
    half = identified(tmp_path, x=X[64:], t=T[:26], u=solved[name][64:, :26])
    late = identified(tmp_path, x=X, t=T[20:], u=solved[name][:, 20:])
    assert half.problem.name == late.problem.name == name


@pytest.mark.parametrize(
    ("name", "change", "part"),
    [
        ("burgers", lambda x, t, u: (x, t, u[::-1]), "flipped along x "),
        ("burgers", lambda x, t, u: (x, t, u[:, ::-1]), "flipped along t "),
        ("burgers", lambda x, t, u: (x, t, u[::-1, ::-1]), "flipped along x and t "),
        ("kdv", lambda x, t, u: (x, t, u[::-1]), "flipped along x "),
        ("kdv", lambda x, t, u: (x, t, u[:, ::-1]), "flipped along t "),
        ("kdv", lambda x, t, u: (x, t, u[::-1, ::-1]), "first row is .* from the initial condition of kdv"),
        ("kdv", lambda x, t, u: (x, t, -u), "other sign"),
        ("allen-cahn", lambda x, t, u: (x, t, u[:, ::-1]), "flipped along t "),
        ("allen-cahn", lambda x, t, u: (x, t, -u), "first row is 2 .* from the initial condition"),
        ("burgers", lambda x, t, u: (x, t[:31], u[:, 20:]), "t counted from elsewhere"),
        ("burgers", lambda x, t, u: (x, t, np.roll(u, 40, 0)), "x shifted"),
        ("burgers", lambda x, t, u: (x + 1, t, u), "x runs from 0 to 2; expected a part of \\[-1, 1\\]"),
        ("burgers", lambda x, t, u: (x, 100 * t, u), "0.01 .-u u_x. fits, where burgers has 1 .* other units"),
        ("allen-cahn", lambda x, t, u: (x, 2 * t, u), "2.5 .u - u.3. fits, where allen-cahn has 5"),
        ("burgers", lambda x, t, u: (x[::16], t, u[::16]), "at least 13 points and 5 times .* take a finer file"),
        ("kdv", lambda x, t, u: (x[::8], t[::5], u[::8, ::5]), "no equation of burgers, allen-cahn, kdv fits"),
        ("burgers", lambda x, t, u: (x, t, 0 * u), "does not change in time"),
        ("burgers", lambda x, t, u: (x, t, np.sin(np.pi * (x[:, None] - t))), "another equation"),
        ("burgers", lambda x, t, u: (x, t, np.exp(-t) * np.sin(np.pi * x)[:, None]), "fit alike.*pass --problem NAME"),
    ],
)
def test_values_of_something_else_are_refused(name, change, part, solved, tmp_path):
    x, t, u = change(X, T, solved[name])
    with pytest.raises(ValueError, match=f"file.npz: .*{part}"):
        identified(tmp_path, x=x, t=t, u=u)


def test_another_coefficient_is_refused_by_name_and_measured_where_it_is_told(tmp_path):
    u = burgers(0.01)
    hint = "this is burgers with nu = 0.01 .fitted., expected 0.0031831; pass --problem burgers --coefficient 0.01 "
    with pytest.raises(ValueError, match=hint):
        identified(tmp_path, x=X, t=T, u=u)
    with pytest.raises(ValueError, match=r"nu = 0.01 .fitted., --coefficient 0.02 was told"):
        identified(tmp_path, "burgers", 0.02, x=X, t=T, u=u)
    with pytest.raises(ValueError, match=r"expected kdv, as told, .* the best is burgers.*leave out --problem"):
        identified(tmp_path, "kdv", x=X, t=T, u=u)
    with pytest.raises(ValueError, match="unknown problem 'heat'; expected one of burgers"):
        identified(tmp_path, "heat", x=X, t=T, u=u)
    found = identified(tmp_path, "burgers", 0.01, x=X, t=T, u=u)
    assert found.text.startswith("nu = 0.0100000") and measure(found).at_floor


def test_the_problem_of_deepxde_is_not_allen_cahn(solved, tmp_path):
    u = spectral("allen-cahn", 1e-3)
    with pytest.raises(ValueError, match=r"this is allen-cahn with D = 0.001 .fitted., expected 0.0001"):
        identified(tmp_path, x=X, t=T, u=u)
    held = solved["allen-cahn"].copy()
    held[[0, -1]] = -1
    with pytest.raises(ValueError, match="held at -1, where allen-cahn is periodic"):
        identified(tmp_path, x=X, t=T, u=held)


def test_as_many_points_as_times_are_told_apart_by_the_equation(tmp_path, capsys):
    x, t = np.linspace(-1, 1, 51), np.linspace(0, 1, 51)
    u = burgers(x=x, t=t)
    for values, turned in ((u, False), (u.T, True)):
        found = identified(tmp_path, x=x, t=t, u=values)
        assert np.array_equal(found.file.u, u) and ("transposed" in found.file.taken) == turned
        np.savez(tmp_path / "square.npz", x=x, t=t, u=values)
        reference_files.reproduce([tmp_path / "square.npz"])
        assert ("square.npz is transposed, as only its equation tells" in capsys.readouterr().out) == turned


def test_a_coarse_file_is_measured_on_the_callers_word(tmp_path):
    x, t = np.linspace(-1, 1, 11), np.linspace(0, 1, 5)
    found = identified(tmp_path, "burgers", x=x, t=t, u=burgers(x=x, t=t))
    assert found.text == "nu not fitted" and measure(found).at_floor
    with pytest.raises(ValueError, match="initial condition of kdv"):
        identified(tmp_path, "kdv", x=x, t=t, u=burgers(x=x, t=t))


MESH = np.stack(np.meshgrid(X, T, indexing="ij"), -1).reshape(-1, 2)


@pytest.mark.parametrize(
    "named",
    [
        {"x": X[:, None], "tt": T[None], "uu": "u"},
        {"a": X, "b": T, "c": "u"},
        {"x": X, "other": T, "exact": "u"},
        {"X": np.tile(X[:, None], 51), "T": np.tile(T, (129, 1)), "u": "u"},
        {"coords": MESH, "solution": "list"},
        {"table": "rows"},
        {"x": MESH[:, 0], "t": MESH[:, 1], "u": "flat"},
    ],
)
def test_arrays_are_found_by_name_or_shape(named, tmp_path):
    u = burgers()
    shapes = {"u": u, "list": u.reshape(-1, 1), "flat": u.ravel(), "rows": np.column_stack([MESH, u.ravel()])}
    file = read_reference(
        saved(tmp_path, **{k: shapes[v] if isinstance(v, str) else v for k, v in named.items()}, nu=NU)
    )
    assert np.array_equal(file.u, u) and np.array_equal(file.x, X) and np.array_equal(file.t, T)
    assert "x = " in file.taken and "(129)" in file.taken and "as (x, t)" in file.taken


def broken(**changes):
    u = burgers()
    given = {"x": X, "t": T, "u": u} | {name: change(u) for name, change in changes.items()}
    return {name: values for name, values in given.items() if values is not None}


def spoiled(u, value):
    u = u.copy()
    u[3, 4] = value
    return u


def shuffled(_):
    x = X.copy()
    x[[3, 9]] = x[[9, 3]]
    return x


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"u": lambda u: spoiled(u, np.nan)}, r"1 values that are NaN or infinite, the first at \(3, 4\)"),
        ({"u": lambda u: spoiled(u, np.inf)}, "NaN or infinite"),
        ({"u": lambda u: u + 0j}, "u is complex128; expected real numbers"),
        ({"u": lambda u: (9 * u).astype(int)}, "u is int64; expected real numbers"),
        ({"u": lambda u: u.astype(np.float16)}, "u is float16; expected real numbers of at least single precision"),
        ({"u": lambda u: u[:, :, None] * np.ones(2)}, "expected one matrix"),
        ({"x": lambda u: X[::-1]}, "x decreases; .* reverse it together with the values"),
        ({"x": shuffled}, "x is not in order at index 3: sort it"),
        ({"x": lambda u: -np.cos(np.pi * (X + 1) / 2)}, "x is not uniform, .* interpolate to a uniform grid"),
        ({"t": lambda u: T[:-1]}, r"u is \(129, 51\), but x has 129 points and t has 50"),
        ({"t": lambda u: None}, "expected two axes as long as the matrix u .*rename them"),
        ({"u": lambda u: None, "a": lambda u: u, "b": lambda u: u}, "expected one matrix, u, by one of the names usol"),
        ({"x": lambda u: np.append(X[:-1], np.nan)}, "x has 1 values that are NaN"),
    ],
)
def test_arrays_that_are_no_solution_are_refused(changes, part, tmp_path):
    with pytest.raises(ValueError, match=f"file.npz: .*{part}"):
        read_reference(saved(tmp_path, **broken(**changes)))


def test_a_list_with_a_missing_point_is_refused(tmp_path):
    table = np.column_stack([MESH, burgers().ravel()])
    with pytest.raises(ValueError, match="expected a value at every point of a grid"):
        read_reference(saved(tmp_path, table=table[1:]))
    with pytest.raises(ValueError, match="expected a value at every point of a grid"):
        read_reference(saved(tmp_path, table=np.vstack([table[1:], table[1:2]])))


def test_pickled_objects_are_never_loaded(tmp_path):
    with pytest.raises(ValueError, match="pickled objects are never loaded: save plain arrays"):
        read_reference(saved(tmp_path, x=X, t=T, u=np.array([[1, "a"]], dtype=object)))


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("a.mat", b"", "the file is empty"),
        ("a.mat", b"hello there", "no MATLAB file"),
        ("a.mat", b"MATLAB 5.0 MAT-file, x" * 20, "no MATLAB file"),
        ("a.mat", b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer.* git lfs pull"),
        ("a.npz", b"PK\x03\x04abc", "cannot be read"),
        ("a.npy", b"\x93NUMPY\x01", "cannot be read"),
        ("a.mat", b"\x89HDF\r\n\x1a\n123", "cannot be read"),
        ("a.csv", b"x,t,u\n1,2\n", "three columns x, t, u, came 2"),
        ("a.csv", b"x,t,u\n1,2,word\n", "cannot be read"),
        ("a.bin", b"abcdef", "begins with b'abcdef'; expected a .mat, .npz, .npy or .csv"),
    ],
)
def test_what_is_no_such_file_is_refused(name, content, part, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: .*{part}"):
        read_reference(tmp_path / name)


def test_no_file_is_said_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a file, came nothing"):
        read_reference(tmp_path / "none.mat")
    with pytest.raises(FileNotFoundError, match="came a folder"):
        read_reference(tmp_path)


def test_every_format_gives_the_same_values(tmp_path):
    u = burgers()
    table = np.column_stack([MESH, u.ravel()])
    savemat(tmp_path / "five.mat", {"x": X, "t": T, "usol": u, "names": np.array(["a"], dtype=object)})
    with h5py.File(tmp_path / "seven.mat", "w", userblock_size=512) as file:
        # MATLAB's axes are reversed in HDF5.
        file["x"], file["t"], file["usol"] = X[None], T[:, None], u.T
    np.save(tmp_path / "table.npy", table)
    np.savetxt(tmp_path / "headed.csv", table, delimiter=",", header="x,t,u", comments="", fmt="%.17g")
    np.savetxt(tmp_path / "bare.csv", table, delimiter=";", fmt="%.17g")
    for name in ("five.mat", "seven.mat", "table.npy", "headed.csv", "bare.csv"):
        file = read_reference(tmp_path / name)
        assert np.array_equal(file.u, u) and np.array_equal(file.x, X) and file.name == name, name


def test_single_precision_raises_the_floor(tmp_path):
    arrays = {"x": X.astype(np.float32), "t": T.astype(np.float32), "u": burgers().astype(np.float32)}
    distance = measure(identified(tmp_path, **arrays))
    assert 1e-8 < distance.floor < 1e-7 and distance.at_floor and distance.relative > 1e-9


def test_distances_are_those_of_what_was_added(tmp_path):
    u, bump = burgers(), np.zeros((129, 51))
    bump[64, 30], bump[20, 2], bump[1, 40] = 4e-5, 2e-5, 1e-5
    distance = measure(identified(tmp_path, x=X, t=T, u=u + bump))
    norm = np.linalg.norm(u)
    assert distance.relative == pytest.approx(np.sqrt(21) * 1e-5 / norm, rel=1e-6)
    assert (distance.x, distance.t) == (X[64], T[30]) and distance.largest == pytest.approx(4e-5, rel=1e-6)
    shares = {LAYER: 1 / 21, EARLY: 4 / 21, SHOCK: 16 / 21}
    assert distance.shares == pytest.approx(shares, rel=1e-6)
    away = np.linalg.norm(np.delete(u, np.flatnonzero(np.abs(X) < 0.02), axis=0))
    assert distance.elsewhere == pytest.approx(np.sqrt(5) * 1e-5 / away, rel=1e-6)
    assert distance.start < 1e-14 and not distance.at_floor
    assert bounded(3e-14, 1e-14) == "<= 1.0e-14" and bounded(3.1e-14, 1e-14) == "3.100e-14"


HALF = T[:26]
"""Long enough for the shock."""


def unresolved(points, nu=NU):
    """A run with too few modes by another integrator, written without ours."""
    x, wave = -1 + 2 * np.arange(points) / points, np.pi * points * fftfreq(points)

    def slope(_, u):
        return ifft(-nu * wave**2 * fft(u) - 0.5j * wave * fft(u * u)).real

    run = solve_ivp(slope, (0, 0.5), -np.sin(np.pi * x), t_eval=HALF, method="DOP853", rtol=1e-9, atol=1e-11)
    return np.append(x, 1.0), np.vstack([run.y, run.y[:1]])


def test_a_run_with_as_many_modes_makes_the_same_error(tmp_path):
    x, u = unresolved(151)
    found = identified(tmp_path, x=x, t=HALF, u=u)
    distance = measure(found)
    spectrum = modes(found, distance)
    assert spectrum.verdict == "151" and spectrum.points == 151
    assert distance.relative > 1e-3 > 1e3 * spectrum.same and spectrum.same_error < 1e-6
    # The sine is resolved, so a finer run from the same start is the true solution.
    assert spectrum.resolved == pytest.approx(distance.relative, rel=0.05)


def test_a_sampled_file_was_made_with_more_modes_than_points(tmp_path):
    u = burgers(t=HALF) + 1e-9 * np.sin(np.pi * X)[:, None] * HALF
    found = identified(tmp_path, x=X, t=HALF, u=u)
    spectrum = modes(found, measure(found))
    assert spectrum.verdict == "more than 128" and spectrum.same > 1e-4 and math.isnan(spectrum.resolved)


def test_a_smooth_file_needs_few_modes_and_a_cut_one_has_lost_some(tmp_path):
    u = burgers(0.05, t=HALF)
    found = identified(tmp_path, "burgers", 0.05, x=X, t=HALF, u=u)
    whole = modes(found, measure(found))
    # No difference tells a time; that of the start, one sine, would say that 3 modes do.
    assert whole.verdict.endswith("would do") and 10 < whole.edge == whole.our_edge < 60
    spectrum = np.fft.rfft(u[:-1], axis=0)
    spectrum[21:] = 0
    cut = np.fft.irfft(spectrum, 128, axis=0)
    found = identified(tmp_path, "burgers", 0.05, x=X, t=HALF, u=np.vstack([cut, cut[:1]]))
    assert modes(found, measure(found)).verdict == "cut at 41"


def test_part_of_a_period_has_no_modes(tmp_path):
    found = identified(tmp_path, x=X[64:], t=T, u=burgers()[64:])
    assert period_points(found.file) == 0 and modes(found, measure(found)).verdict == "not one period"


def test_the_trigonometric_interpolant_goes_through_its_points():
    values = np.random.default_rng(0).normal(size=16)
    assert np.allclose(trigonometric(values, 64)[::4], values)
    assert np.allclose(trigonometric(values[:15], 60)[::4], values[:15])
    assert np.allclose(amplitude(3 + 2 * np.cos(np.pi * np.arange(16) / 4))[[0, 2]], [3, 2])


def test_the_start_between_the_points_decides_about_the_kink(tmp_path):
    """A run with few modes solves the equation well, from a curve without the kink."""
    u, fine = (spectral("allen-cahn", 1e-4, modes)[:, :13] for modes in (128, 2048))
    found = identified(tmp_path, x=X, t=T[:13], u=u)
    rows = {row.name: row for row in starts(found, given(fine))}
    away = np.linalg.norm(u - fine) / np.linalg.norm(fine)
    assert away > 1e-4 and len(rows) == 4
    nearest = rows["trigonometric interpolant"]
    assert nearest.from_file < 0.02 * away and nearest.from_ours == pytest.approx(away, rel=0.02)
    assert all(row.from_file < 0.2 * away for row in rows.values())
    late = identified(tmp_path, x=X, t=T[2:13], u=u[:, 2:])
    assert starts(late, given(fine[:, 2:])) == []


def given(reference):
    """A distance from values that are given."""
    return SimpleNamespace(reference=reference)


def command():
    app = typer.Typer()
    app.command()(reference_files.main)
    return app


def test_the_command_writes_tables_numbers_and_figures(tmp_path):
    x, u = unresolved(101)
    np.savez(tmp_path / "with-a-very-long-name-of-a-file.npz", x=x, t=HALF, u=u)
    np.savez(tmp_path / "flipped.npz", x=x, t=HALF, u=u[::-1])
    words = [str(path) for path in sorted(tmp_path.iterdir())]
    folder, numbers = tmp_path / "out", tmp_path / "numbers.json"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = CliRunner().invoke(command(), [*words, "-o", str(folder), "--json", str(numbers)])
    assert result.exit_code == 1 and "flipped along x" in result.stderr, result.output
    for line in result.stdout.splitlines():
        assert len(line) <= 100 or line.startswith("wrote")
    record = json.loads((folder / "files.json").read_text())
    assert record == json.loads(numbers.read_text()) and str(tmp_path) not in numbers.read_text()
    (file,) = record["files"]
    assert file["problem"] == "burgers" and file["modes"]["verdict"] == "101" and len(file["sha256"]) == 64
    assert len(record["refused"]) == 1 and record["machine"]["cores"] >= 1
    table = (folder / "tables.md").read_text()
    assert "with-a-very-long-.. | burgers | 102x26" in table and "flipped along x" in table
    for name in reference_files.FIGURES:
        assert 5_000 < (folder / name).stat().st_size < 200_000
    again = CliRunner().invoke(command(), [words[0], "-o", str(folder)])
    assert again.exit_code == 2 and "choose another one or pass --overwrite" in again.stderr
    once = CliRunner().invoke(command(), [words[0], "--json", str(numbers)])
    assert once.exit_code == 2 and "choose another name or pass --overwrite" in once.stderr


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--problem", "heat"), "unknown problem 'heat'"),
        (("--coefficient", "0.01"), "a coefficient belongs to a problem: pass --problem NAME"),
        ((), "expected a file, came nothing"),
    ],
)
def test_options_that_cannot_be_met_are_refused(options, part, tmp_path):
    result = CliRunner().invoke(command(), [str(tmp_path / "none.mat"), *options])
    assert result.exit_code == (2 if options else 1) and part in result.stderr


def test_no_files_are_refused():
    with pytest.raises(ValueError, match="expected at least one reference file"):
        reference_files.reproduce([])


def test_figures_name_their_axes_and_draw_floors(tmp_path):
    each = examine(saved(tmp_path, x=X, t=HALF, u=burgers(t=HALF) * (1 + 1e-6)))
    errors, near, spectra = errors_figure([each]), near_figure([each]), spectra_figure([each])
    for figure in (errors, near, spectra):
        for axis in figure.axes:
            assert axis.get_ylabel() and (axis.get_xlabel() or "reference" in axis.get_ylabel())
    assert errors.axes[0].collections[0].norm.vmin == 1e-16
    floors = [line for line in near.axes[0].lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in floors] == [each.distance.largest_floor]
    drawn = near.axes[0].lines[0].get_ydata()
    assert max(drawn) == pytest.approx(each.distance.largest, rel=0.2)


def test_the_page_holds_the_tables_of_the_committed_results():
    page, table = (HERE / "reference_files.md").read_text(), (RESULTS / "tables.md").read_text().rstrip()
    record = json.loads((RESULTS / "files.json").read_text())
    assert table in page and len(record["files"]) == 6 and len(record["refused"]) == 1
    for file in record["files"]:
        assert KNOWN[file["sha256"]] == file["known"]
        assert f"| {file['known']} | {file['problem']} |" in table
        assert f"{file['distance']['relative_l2']:.3e}" in table or file["distance"]["at_floor"]
    for name in reference_files.FIGURES:
        assert f"results/reference-files/{name}" in page and (RESULTS / name).stat().st_size < 200_000
    assert not re.search(r'"/|\\\\', (RESULTS / "files.json").read_text())
    assert {score.file for score in SCORES} <= set(KNOWN.values())


@pytest.fixture
def public():
    if "PINNSCOPE_SHARED" not in os.environ:
        pytest.skip("set PINNSCOPE_SHARED to the folder that holds reference/public_files")
    return Path(os.environ["PINNSCOPE_SHARED"]) / "reference" / "public_files"


def test_files_in_common_use_are_told(public):
    told = {
        "r_burgers.mat": ("burgers", (256, 100)),
        "d_burgers.npz": ("burgers", (256, 100)),
        "j_burgers.mat": ("burgers", (512, 201)),
        "j_ac.mat": ("allen-cahn", (512, 201)),
        "rba_ac.mat": ("allen-cahn", (512, 201)),
        "j_kdv.mat": ("kdv", (512, 201)),
    }
    for name, (problem, shape) in told.items():
        found = identify(read_reference(public / name))
        assert found.problem.name == problem and found.file.u.shape == shape and found.file.sha256 in KNOWN
        assert abs(found.fitted / found.coefficient - 1) < 1e-6 and found.fit.misfit < 1e-7
    with pytest.raises(ValueError, match=r"D = 0.0009992 .fitted., expected 0.0001; .*held at -1"):
        identify(read_reference(public / "d_ac.mat"))


def test_files_in_common_use_are_as_far_as_the_page_says(public):
    record = json.loads((RESULTS / "files.json").read_text())
    for name in ("r_burgers.mat", "j_burgers.mat"):
        found = identify(read_reference(public / name))
        (file,) = [file for file in record["files"] if file["sha256"] == found.file.sha256]
        # Every fourth time will do.
        fewer = replace(found.file, t=found.file.t[::4], u=found.file.u[:, ::4])
        relative = measure(replace(found, file=fewer)).relative
        assert relative == pytest.approx(file["distance"]["relative_l2"], rel=0.03)
    assert file["distance"]["relative_l2"] == pytest.approx(4.005e-5, rel=1e-3) and file["modes"]["verdict"] == "511"
    assert file["modes"]["same_modes"] < 1e-10
