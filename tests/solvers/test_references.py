"""References are computed once, kept whole, and never believed unread."""

import hashlib
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from solvers.description import describe_problem
from solvers.problems import burgers, kdv, poisson_1d
from solvers.references import RECIPES, netcdf, store
from solvers.references.recipe import Recipe
from solvers.references.reference import Reference, compute

TEXT = {"units": "1", "long_name": "amplitudes"}
VALUES = np.array([[0.1, -0.0, 1e-300], [np.pi, 1 / 3, -7.0]])


def columns():
    return {
        "c": (("order", "mode"), VALUES, TEXT),
        "mode": (("mode",), np.array([1, 2, 5]), {"units": "1", "long_name": "wavenumber"}),
        "speed": ((), np.array(0.1), {"units": "m s-1", "long_name": "speed"}),
    }


def recipe_of(work=columns, name="toy", **changes):
    made = Recipe(name, {"speed": 0.1}, work, "by hand", 1e-12, "counted", lambda: iter(()))
    return replace(made, **changes)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """A cache and a checkout of their own, and nothing in memory."""
    monkeypatch.setenv(store.CACHE, str(tmp_path / "cache"))
    monkeypatch.setattr(store, "_known", {})
    monkeypatch.setattr(store, "_refused", set())
    monkeypatch.setattr(store, "committed_folder", lambda: tmp_path / "committed")


@pytest.fixture
def counted():
    """A recipe, and how often it was computed."""
    calls = []

    def work():
        calls.append(1)
        return columns()

    return recipe_of(work), calls


def forget():
    store._known.clear()


def cached(recipe):
    return store.cache_folder() / netcdf.file_name(recipe)


def sealed(content):
    return content + netcdf.SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n"


def rewritten(path, change):
    """Change a file through HDF5 and seal it again, as somebody would who knows how."""
    inside = path.with_suffix(".h5")
    inside.write_bytes(path.read_bytes()[: -netcdf.SEALED])
    with h5py.File(inside, "r+") as file:
        change(file)
    path.write_bytes(sealed(inside.read_bytes()))


# What is kept.


def test_a_reference_is_computed_once_and_read_back_bit_for_bit(counted):
    recipe, calls = counted
    first = store.fetch(recipe)
    forget()
    second = store.fetch(recipe)
    assert calls == [1]
    assert first.keys() == second.keys() == columns().keys()
    for name, (_, values, _) in columns().items():
        assert second[name].dtype == values.dtype and second[name].shape == values.shape
        assert second[name].tobytes() == values.tobytes()
    forget()
    cached(recipe).unlink()
    store.fetch(recipe)
    store.fetch(recipe)
    assert calls == [1, 1]


def test_arrays_cannot_be_changed_by_who_uses_them():
    for _ in range(2):
        found = store.fetch(recipe_of())
        with pytest.raises(ValueError, match="read-only"):
            found["c"][0, 0] = 1
        found.pop("c")
        assert "c" in store.fetch(recipe_of())
        forget()


def test_xarray_reads_a_file_with_names_units_and_where_it_comes_from(recwarn):
    recipe = recipe_of()
    store.fetch(recipe)
    with xr.open_dataset(cached(recipe), engine="h5netcdf") as dataset:
        assert dataset["c"].dims == ("order", "mode")
        assert dataset["c"].attrs == TEXT
        assert dataset["mode"].values.tolist() == [1, 2, 5]
        assert dataset["speed"].item() == 0.1
        told = dataset.attrs
    assert (told["format"], told["format_version"]) == ("pinnscope-reference", "1.0")
    assert (told["name"], told["key"], told["version"]) == ("toy", recipe.key, 1)
    assert (told["settings"], told["method"], told["floor"]) == ('{"speed": 0.1}', "by hand", 1e-12)
    assert told["floor_origin"] == "counted"
    assert told["content"] == compute(recipe).content
    assert all(f'"{name}"' in told["versions"] for name in ("numpy", "scipy", "pinnscope"))
    assert told["created"].startswith("20") and told["seconds"] >= 0
    assert not recwarn.list


def test_a_formula_is_kept_nowhere():
    assert store.fetch(recipe_of(dict)) == {}
    assert not store.cache_folder().exists()


def test_name_settings_and_version_make_the_key_and_other_things_do_not():
    recipe = recipe_of()
    others = [recipe_of(name="other"), replace(recipe, settings={"speed": 0.2}), replace(recipe, version=2)]
    assert len({recipe.key, *(other.key for other in others)}) == 4
    assert replace(recipe, method="by foot", floor=1.0).key == recipe.key
    for one in (recipe, *others):
        store.fetch(one)
    assert len(list(store.cache_folder().iterdir())) == 4


@pytest.mark.parametrize("change", ["name", "dimension", "type", "shape", "value", "sign of zero"])
def test_the_content_hash_sees_every_change_of_the_arrays(change):
    def of(name="c", dimensions=("order", "mode"), values=VALUES):
        return Reference({name: (dimensions, values, TEXT)}, 0.0).content

    other = {
        "name": lambda: of(name="d"),
        "dimension": lambda: of(dimensions=("order", "n")),
        "type": lambda: of(values=VALUES.astype(np.float32)),
        "shape": lambda: of(values=VALUES.reshape(3, 2)),
        "value": lambda: of(values=np.nextafter(VALUES, 9)),
        "sign of zero": lambda: of(values=VALUES + 0.0),
    }
    assert other[change]() != of()
    assert of(values=np.asfortranarray(VALUES)) == of(values=VALUES.astype(">f8")) == of()


def test_the_content_hash_does_not_depend_on_the_order_of_the_arrays():
    backwards = dict(reversed(columns().items()))
    assert Reference(backwards, 1.0).content == Reference(columns(), 0.0).content


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ((("mode",), np.array([1j]), TEXT), "integers or real numbers, came complex128"),
        ((("mode",), np.array(["a"]), TEXT), "integers or real numbers, came <U1"),
        ((("mode",), np.array([1.0, np.nan, np.inf]), TEXT), "finite values, came 2 others"),
        ((("mode", "order"), np.array([1.0]), TEXT), "a name for each of 1 dimensions"),
        ((("mode",), np.array([1.0, 2.0]), TEXT), "3 along mode, came 2"),
        ((("other",), np.array([1.0]), {"units": "1"}), "the attribute long_name"),
    ],
)
def test_a_computation_that_went_wrong_is_named_and_not_kept(wrong, message):
    recipe = recipe_of(lambda: columns() | {"wrong": wrong})
    with pytest.raises(ValueError, match=f"reference toy came out wrong: wrong: expected {message}.*mend"):
        store.fetch(recipe)
    assert not store.cache_folder().exists()


# What is damaged or not ours.


def test_every_damaged_byte_is_seen(counted):
    recipe, calls = counted
    store.fetch(recipe)
    path, whole = cached(recipe), cached(recipe).read_bytes()
    places = np.linspace(0, len(whole) - 1, 60).astype(int)
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(netcdf.UnusableReferenceError):
            netcdf.read(path, recipe)
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(netcdf.UnusableReferenceError):
            netcdf.read(path, recipe)
    assert calls == [1]


def test_a_damaged_file_is_replaced_with_a_warning_that_names_it(counted):
    recipe, calls = counted
    store.fetch(recipe)
    path, whole = cached(recipe), cached(recipe).read_bytes()
    path.write_bytes(whole[:500] + b"?" + whole[501:])
    forget()
    with pytest.warns(UserWarning, match=f"{path} will be computed anew: its bytes are not those that were written"):
        store.fetch(recipe)
    forget()
    store.fetch(recipe)
    assert calls == [1, 1]


def change_value(file):
    file["c"][0, 0] = 5.0


def put_nan(file):
    """As a writer would that does not look: the content hash fits."""
    file["c"][0, 0] = np.nan
    values = {name: (dims, file[name][()], {}) for name, (dims, _, _) in columns().items()}
    file.attrs["content"] = Reference(values, 0.0).content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_value, "not those that its content hash was taken of"),
        (put_nan, "c: expected finite values, came 1 others"),
        (lambda file: file.attrs.update(key="0123456789ab"), "expected toy of key .*, came toy of key 0123456789ab"),
        (lambda file: file.attrs.update(name="other"), "came other of key"),
        (lambda file: file.attrs.update(format="pinnscope-trajectory"), "came pinnscope-trajectory of another kind"),
        (lambda file: file.attrs.update(format_version="2.0"), "of another kind"),
        (lambda file: file.attrs.pop("content"), "cannot be read"),
        (lambda file: file["c"].attrs.pop("units"), "expected the attribute units"),
        (lambda file: file.pop("c"), "content hash"),
    ],
)
def test_a_file_of_something_else_is_refused_and_replaced(counted, change, message):
    recipe, calls = counted
    store.fetch(recipe)
    rewritten(cached(recipe), change)
    forget()
    with pytest.warns(UserWarning, match=message):
        found = store.fetch(recipe)
    assert found["c"].tobytes() == VALUES.tobytes()
    assert calls == [1, 1]
    netcdf.read(cached(recipe), recipe)


@pytest.mark.parametrize("content", [b"", b"no file of ours", sealed(b"no netCDF"), b"\x89HDF\r\n\x1a\n" + b"\0" * 999])
def test_a_foreign_file_is_refused_without_hdf5_seeing_it(content):
    recipe = recipe_of()
    store.cache_folder().mkdir(parents=True)
    cached(recipe).write_bytes(content)
    with pytest.warns(UserWarning, match="will be computed anew"):
        assert store.fetch(recipe)["c"].shape == (2, 3)
    netcdf.read(cached(recipe), recipe)


def test_another_reference_under_this_name_is_refused():
    recipe, other = recipe_of(), recipe_of(name="other")
    store.fetch(other)
    cached(other).rename(cached(recipe))
    with pytest.warns(UserWarning, match="expected toy of key .*, came other of key"):
        store.fetch(recipe)


# Where it is kept.


def test_the_checkout_comes_before_the_cache_and_is_never_written(counted):
    recipe, calls = counted
    netcdf.write(store.committed_folder(), recipe, compute(recipe_of()))
    store.fetch(recipe)
    assert calls == [] and not store.cache_folder().exists()
    path = store.committed_folder() / netcdf.file_name(recipe)
    path.write_bytes(b"damaged")
    forget()
    with pytest.warns(UserWarning, match=f"{path} is left out: it is no file of ours"):
        store.fetch(recipe)
    assert calls == [1] and path.read_bytes() == b"damaged" and cached(recipe).exists()
    netcdf.write(store.committed_folder(), recipe, compute(recipe_of()))
    assert store.find(recipe).path == path


def test_a_cache_that_cannot_be_written_is_told_of_once(counted, tmp_path, monkeypatch):
    """Below a file nobody can write, not even root."""
    recipe, calls = counted
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(store.CACHE, str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="file.references.*computed by every process.*name a folder.*PINNSCOPE_CACHE"):
        assert store.fetch(recipe)["c"].shape == (2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.fetch(recipe)
        store.fetch(recipe_of(name="other"))
    assert calls == [1]


def test_a_directory_in_the_files_place_does_no_harm(counted):
    recipe, calls = counted
    cached(recipe).mkdir(parents=True)
    with pytest.warns(UserWarning) as told:
        store.fetch(recipe)
    assert calls == [1]
    assert [str(cached(recipe)) in str(told[0].message), "cannot be kept" in str(told[1].message)] == [True, True]


def test_a_write_that_fails_leaves_nothing_behind(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(UserWarning, match="No space left"):
        store.fetch(recipe_of())
    assert list(store.cache_folder().iterdir()) == []


def test_the_cache_is_the_users_unless_the_environment_says_otherwise(monkeypatch, tmp_path):
    assert store.cache_folder() == tmp_path / "cache" / "references"
    monkeypatch.delenv(store.CACHE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    folder = store.cache_folder()
    assert folder.parts[-2:] == ("pinnscope", "references")
    if sys.platform == "linux":
        assert folder == tmp_path / "xdg" / "pinnscope" / "references"


TWO = """
import sys, time, types
from pathlib import Path
import numpy as np

# Without solvers/__init__, which would import torch: seconds for each process.
package = types.ModuleType("solvers")
package.__path__ = [{solvers!r}]
sys.modules["solvers"] = package
from solvers.references import store
from solvers.references.recipe import Recipe

def work():
    Path({folder!r}, "begun-" + sys.argv[1]).touch()
    while len(list(Path({folder!r}).glob("begun-*"))) < 2:
        time.sleep(0.01)
    return {{"c": (("mode",), np.arange(9.0), {{"units": "1", "long_name": "amplitudes"}})}}

print(store.obtain(Recipe("both", {{}}, work, "by hand", 1e-12, "counted", lambda: iter(()))).path)
"""


def test_two_processes_that_compute_at_once_leave_one_good_file(tmp_path):
    script = TWO.format(solvers=str(Path(netcdf.__file__).parents[1]), folder=str(tmp_path))
    run = [subprocess.Popen([sys.executable, "-c", script, each], stdout=subprocess.PIPE, text=True) for each in "ab"]
    outputs = [process.communicate(timeout=300)[0].strip() for process in run]
    assert [process.returncode for process in run] == [0, 0]
    recipe = replace(recipe_of(name="both"), settings={})
    assert outputs == [str(cached(recipe))] * 2
    assert [path.name for path in store.cache_folder().iterdir()] == [netcdf.file_name(recipe)]
    assert netcdf.read(cached(recipe), recipe).arrays["c"].tolist() == list(range(9))


# The references that there are.


def test_recipes_have_names_of_their_own_and_say_what_they_are():
    recipes = {name: make() for name, make in RECIPES.items()}
    assert len({recipe.key for recipe in recipes.values()}) == len(recipes) == 9
    for name, recipe in recipes.items():
        assert name.startswith(recipe.name) and recipe.method and recipe.floor_origin
        assert 0 < recipe.floor < 1e-2


def test_the_checkout_carries_whole_files_of_today(monkeypatch):
    monkeypatch.undo()
    folder, read = store.committed_folder(), []
    for make in RECIPES.values():
        recipe = make()
        path = folder / netcdf.file_name(recipe)
        if path.exists():
            netcdf.read(path, recipe)
            read.append(path)
    assert {path.name for path in folder.glob("*.nc")} == {path.name for path in read} != set()
    assert sum(path.stat().st_size for path in read) < 1.5e6


@pytest.mark.parametrize("name", ["allen-cahn", "kdv"])
def test_what_the_checkout_carries_is_what_is_computed(monkeypatch, name):
    monkeypatch.undo()
    recipe = RECIPES[name]()
    kept, fresh = store.find(recipe), compute(recipe)
    assert kept.path.parent == store.committed_folder()
    ours, theirs = recipe.sampled(fresh.arrays), recipe.sampled(kept.arrays)
    assert ours.shape == (5151,)
    assert np.linalg.norm(ours - theirs) < recipe.floor * np.linalg.norm(ours)


def test_problems_tell_the_record_what_they_are_measured_by():
    told = describe_problem(kdv())
    assert told["reference"] == {"name": "kdv", "key": RECIPES["kdv"]().key, "method": kdv().reference.method}
    assert (told["equation"], told["floor_origin"]) == (kdv().equation, kdv().floor_origin)
    assert describe_problem(burgers())["reference"]["key"] == RECIPES["burgers"]().key
    assert describe_problem(burgers(0.01))["reference"]["key"] != RECIPES["burgers"]().key
    assert "reference" not in describe_problem(poisson_1d())
    bare = describe_problem(replace(poisson_1d(), equation="", floor_origin=""))
    assert not {"equation", "floor_origin"} & bare.keys()
