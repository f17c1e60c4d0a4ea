"""Logs of DeepXDE, Lightning, TensorBoard and W&B: real samples, and files written here."""

import csv
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import dynamics
from dynamics.importers import entries as entries_module
from dynamics.importers import (
    missing,
    read_deepxde_log,
    read_lightning_log,
    read_log,
    read_tensorboard_log,
    read_wandb_log,
    text_table,
    write_trajectory,
)
from dynamics.importers import tensorboard as tensorboard_module
from dynamics.importers.balance import balance
from dynamics.importers.entries import Entries
from dynamics.importers.event_messages import read_event
from dynamics.importers.event_records import LARGEST, Reading, event_records, masked_crc32c
from dynamics.importers.quantities import meanings
from dynamics.steps import in_order
from dynamics.trajectory import TrajectoryError, open_trajectory

LOGS = Path(__file__).parent / "logs"
HEADER = "# step, loss_train, loss_test, metrics_test\n"


def text(folder, content, name="log"):
    path = folder / name
    path.write_text(content)
    return path


def dat(folder, rows):
    return text(folder, HEADER + "".join(" ".join(f"{x:.18e}" for x in row) + "\n" for row in rows))


def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def event(step, tags=(), wall_time=1.7e9, extra=b""):
    """The bytes of an event; tags: (tag, bytes of the value's other fields)."""
    summary = b"".join(field(1, field(1, tag.encode()) + value) for tag, value in tags)
    return b"\x09" + struct.pack("<d", wall_time) + b"\x10" + varint(step) + field(5, summary) + extra


def simple(value):
    return b"\x15" + struct.pack("<f", value)


def framed(*records):
    parts = []
    for record in records:
        length = struct.pack("<Q", len(record))
        parts += [length, struct.pack("<I", masked_crc32c(length)), record, struct.pack("<I", masked_crc32c(record))]
    return b"".join(parts)


def events(folder, *records, name="events.out.tfevents.1"):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(framed(*records))
    return path


# Real samples.


def test_deepxde_sample_with_everything_said():
    table = np.array([line.split() for line in (LOGS / "loss.dat").read_text().splitlines()[1:]], float)
    tree = read_deepxde_log(
        LOGS / "loss.dat", terms=["interior", "bc", "ic"], weights=[1, 10, 100], metrics=["l2 relative error"]
    )
    series = tree["series"]
    # Step 400 was tested twice, by both trainings: the second stands.
    twice = np.flatnonzero(table[:, 0] == 400)
    assert len(twice) == 2
    table = np.delete(table, twice[0], axis=0)
    assert series["step"].values.tolist() == table[:, 0].tolist()
    assert series["loss"].values == pytest.approx(table[:, 1] + table[:, 2] + table[:, 3], rel=1e-15)
    assert series["loss_raw"].values == pytest.approx(table[:, 1:4] / [1, 10, 100], rel=1e-15)
    total = (series["loss_raw"] * series["loss_weight"]).sum("term")
    assert total.values == pytest.approx(series["loss"].values, rel=1e-15)
    assert series["held_out_loss"].values.tolist() == table[:, 4].tolist()
    assert series["rel_l2"].values.tolist() == table[:, 7].tolist()
    assert any("1 rows" in note for note in tree.attrs["notes"])
    assert json.loads(tree.attrs["config"])["imported"]["loss_weights"] == {"interior": 1.0, "bc": 10.0, "ic": 100.0}


def test_deepxde_sample_alone_tells_its_losses_from_its_metrics():
    tree = read_log(LOGS / "loss.dat")
    assert tree["series"]["loss_weighted"].shape == (22, 3) and "loss_raw" not in tree["series"]
    assert "metric_1" in tree["series"] and "metric_2" not in tree["series"]
    notes = " ".join(tree.attrs["notes"])
    assert "3 losses and 1 metrics" in notes and "pass weights=" in notes and "times" in notes
    assert "neglected terms (no series/loss_weight)" in missing(tree)["diagnose"]


def test_lightning_sample():
    with (LOGS / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    series = read_log(LOGS / "metrics.csv")["series"]

    def column(name):
        return {int(row["step"]): float(row[name]) for row in rows if row[name]}

    for ours, theirs in {"loss": "train_loss", "rel_l2": "rel_l2", "learning_rate": "lr-Adam"}.items():
        logged = column(theirs)
        found = dict(zip(series["step"].values.tolist(), series[ours].values.tolist(), strict=True))
        assert {step: value for step, value in found.items() if not np.isnan(value)} == logged
    assert list(column("rel_l2")) != list(column("train_loss"))
    assert "time" not in series.coords and "times were not logged" in read_log(LOGS / "metrics.csv").attrs["notes"]
    assert series["loss_raw"].sel(term="pde").values.tolist() == list(column("pde_loss").values())
    # The weights of the training, 1 and 20, are not in the file.
    assert series["loss_weight"].sel(term="pde").values == pytest.approx(1.0, rel=1e-5)
    assert series["loss_weight"].sel(term="bc").values == pytest.approx(20.0, rel=1e-5)


def test_pina_sample():
    series = read_log(LOGS / "pina.csv")["series"]
    assert series["term"].values.tolist() == ["D", "g1", "g2"]
    # ScalarWeighting({"D": 1, "g1": 10, "g2": 10}); the file holds unweighted losses and the weighted sum.
    assert series["loss_weight"].values[-1] == pytest.approx([1.0, 10.0, 10.0], rel=1e-3)
    assert (series["loss_raw"] * [1.0, 10.0, 10.0]).sum("term").values == pytest.approx(series["loss"].values, rel=1e-6)


def test_tensorboard_sample():
    tree = read_log(LOGS / "tensorboard")
    series = tree["series"]
    assert series["step"].values.tolist() == list(range(24)) and series["term"].values.tolist() == ["pde", "bc"]
    raw = series["loss_raw"].values
    # Double precision, a tensor of float32, and a float32.
    assert series["loss"].values == pytest.approx(raw[:, 0] + 20 * raw[:, 1], rel=1e-6)
    assert (raw[:, 0].astype(np.float32) == raw[:, 0]).all() and series["loss_weight"].values[5].tolist() == [1.0, 20.0]
    assert (np.diff(series["time"].values) > 0).all() and tree.attrs["created"].startswith("2026-11-22T")
    assert not set(series.data_vars) - {"loss", "loss_raw", "loss_weight"}


def test_tensorboard_sample_as_its_own_library_reads_it():
    proto = pytest.importorskip("tensorboardX.proto.event_pb2")
    count = 0
    for path in sorted(LOGS.glob("tensorboard/**/*tfevents*")):
        for record in event_records(path, Reading()):
            theirs, ours = proto.Event.FromString(record), read_event(record)
            assert (theirs.wall_time, theirs.step) == (ours.wall_time, ours.step)
            expected = []
            for value in theirs.summary.value:
                tensor = value.tensor
                if value.WhichOneof("value") == "simple_value":
                    expected.append((value.tag, value.simple_value))
                elif tensor.float_val or tensor.double_val:
                    expected.append((value.tag, [*tensor.float_val, *tensor.double_val][0]))
            assert list(ours.scalars) == expected
            count += len(expected)
    # Three scalars at 24 steps, two weights, one metric of add_hparams.
    assert count == 24 * 5 + 1


def test_records_as_tensorboardx_writes_them(tmp_path):
    writer_of = pytest.importorskip("tensorboardX").SummaryWriter
    with writer_of(str(tmp_path / "run"), write_to_disk=True) as writer:
        for step in range(5):
            writer.add_scalar("train/loss", 2.0**-step, step, walltime=1.7e9 + step)
    series = read_tensorboard_log(tmp_path / "run")["series"]
    assert series["loss"].values.tolist() == [2.0**-step for step in range(5)]
    assert series["time"].values[-1] - series["time"].values[0] == 4.0


# The analyzers, and files.


def test_analyzers_and_file_of_each_sample(tmp_path):
    for number, tree in enumerate(read_log(LOGS / name) for name in ("loss.dat", "metrics.csv", "tensorboard")):
        path = tmp_path / f"{number}.h5"
        write_trajectory(tree, path)
        assert dynamics.validate(path) == []
        with open_trajectory(path) as back:
            assert (
                back.attrs["status"] == "complete" and back.attrs["host"] == "" and "imported" in back.attrs["config"]
            )
            assert back.attrs["created"] == tree.attrs.get("created", "")
            for name, variable in tree["series"].data_vars.items():
                assert np.array_equal(back["series"][name].values, variable.values, equal_nan=True), name
            assert (
                np.array_equal(back["series/time"].values, tree["series"].coords["time"].values)
                if number == 2
                else True
            )
            for each in (tree, back):
                assert dynamics.convergence(each).stage and isinstance(dynamics.diagnose(each), tuple)
            assert missing(back) == missing(tree)
        with pytest.raises(FileExistsError):
            write_trajectory(tree, path)
        write_trajectory(tree, path, overwrite=True)


def test_missing_says_what_each_analyzer_says(tmp_path):
    tree = read_log(LOGS / "loss.dat")
    found = missing(tree)
    assert "convergence" not in found
    for name in set(found) - {"diagnose", "detect_phases"}:
        with pytest.raises(TrajectoryError) as caught:
            getattr(dynamics, name)(tree)
        assert found[name].removeprefix("needs ") in str(caught.value), name
    assert "gradients/std_norm_total" in found["detect_phases"] and "homogeneity/cell_rms" in found["detect_phases"]
    assert found["gradient_snr"] in tree.attrs["missing"]
    norms = {name: ("step", np.ones(5)) for name in ("mean_norm_total", "std_norm_total")}
    richer = tree.assign({"gradients": xr.DataTree(xr.Dataset(norms, {"step": np.arange(5)}))})
    assert "gradient_snr" not in missing(richer)
    assert missing(richer)["detect_phases"] == found["residual_homogeneity"]


def test_writing_keeps_every_group(tmp_path):
    with open_trajectory(Path(__file__).parents[2] / "data" / "poisson-fd.h5") as tree:
        whole = tree.load()
        streams = {name: node for name, node in whole.children.items() if "step" in node.dims}
        assert len(streams) > 1
        write_trajectory(xr.DataTree.from_dict({k: v.to_dataset() for k, v in streams.items()}), tmp_path / "copy.h5")
    assert dynamics.validate(tmp_path / "copy.h5") == []
    with open_trajectory(tmp_path / "copy.h5") as copy:
        for name, node in streams.items():
            for key, variable in node.data_vars.items():
                if variable.notnull().any():
                    assert np.array_equal(copy[name][key].values, variable.values, equal_nan=True), (name, key)


def test_writing_refuses_what_is_no_stream(tmp_path):
    for series, match in (
        (xr.Dataset({"loss": ("row", [1.0])}), "give them steps"),
        (xr.Dataset({"loss": ("step", [1.0, 2.0])}, {"step": [3, 3]}), "put them in order"),
    ):
        with pytest.raises(ValueError, match=match):
            write_trajectory(xr.DataTree.from_dict({"series": series}), tmp_path / "run.h5")
    assert not list(tmp_path.iterdir())


def test_a_log_that_ends_in_nan_diverged(tmp_path):
    path = text(tmp_path, "step,train_loss,val_loss\n0,1.0,\n1,2.0,3.0\n2,nan,\n3,,5.0\n")
    tree = read_log(path)
    assert tree.attrs["status"] == "diverged"
    write_trajectory(tree, tmp_path / "run.h5")
    with open_trajectory(tmp_path / "run.h5") as back:
        assert back.attrs["status"] == "diverged" and dynamics.diagnose(back)[0].name == "diverged"
    # A loss that is not logged at the last step is none.
    assert "status" not in read_log(text(tmp_path, "step,train_loss,val_loss\n0,1.0,\n1,2.0,\n2,,3.0\n")).attrs


def test_importing_needs_no_torch():
    code = (
        "import sys, dynamics.importers as i; t = i.read_log(sys.argv[1]); i.missing(t);"
        "assert not {'torch', 'tensorboardX', 'google.protobuf'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(LOGS / "tensorboard")], check=True)


# DeepXDE.


def test_deepxde_columns_by_what_is_said(tmp_path):
    rows = [[k, *np.random.default_rng(k).random(6)] for k in range(0, 50, 10)]
    path = dat(tmp_path, rows)
    for options, losses, metrics in (
        ({"terms": ["a", "b"]}, 2, 2),
        ({"weights": [2.0, 4.0, 8.0]}, 3, 0),
        ({"metrics": ["m", "n"]}, 2, 2),
        ({"metrics": []}, 3, 0),
        ({"metrics": ["a", "b", "c", "d"]}, 1, 4),
    ):
        series = read_deepxde_log(path, **options)["series"]
        assert series["term"].size == losses
        assert len(set(series.data_vars) - {"loss", "test_loss", "loss_raw", "loss_weight", "loss_weighted"}) == metrics
        assert series["loss"].values == pytest.approx(np.array(rows)[:, 1 : 1 + losses].sum(axis=1), rel=1e-15)
    with pytest.raises(TrajectoryError, match=r"3 losses and 0 metrics: pass terms="):
        read_deepxde_log(path)


@pytest.mark.parametrize("columns", [2, 3])
def test_deepxde_one_way_only(tmp_path, columns):
    series = read_deepxde_log(dat(tmp_path, [[k, *[k + 1.0] * columns] for k in range(4)]))["series"]
    assert series["term"].size == 1 and ("metric_1" in series) == (columns == 3)


def test_deepxde_conditions_are_tested_where_they_are_trained(tmp_path):
    # One equation, one condition, one metric; the condition is the second training loss and the second test loss.
    rows = [[k, 1.0 + k, 5.0 - k, 1.5 + k, 5.0 - k, 0.1 * k] for k in range(4)]
    series = read_deepxde_log(dat(tmp_path, rows))["series"]
    assert series["term"].size == 2 and series["metric_1"].values.tolist() == [0.1 * k for k in range(4)]


def test_deepxde_losses_that_agree_in_two_ways_are_refused(tmp_path):
    same = [[k, k + 1.0, k + 1.0, k + 2.0, k + 1.0] for k in range(4)]
    with pytest.raises(TrajectoryError, match="1 losses and 2 metrics, 2 losses and 0 metrics"):
        read_deepxde_log(dat(tmp_path, same))
    # Losses that are zero throughout, as of conditions that are not tested, agree with anything.
    zero = [[k, k + 1.0, 0.0, k + 2.0, 0.0] for k in range(4)]
    with pytest.raises(TrajectoryError, match="told apart"):
        read_deepxde_log(dat(tmp_path, zero))


def test_deepxde_weight_zero_and_restart(tmp_path):
    rows = [[0, 4, 0, 4, 0], [10, 2, 0, 2, 0], [20, 9, 0, 9, 0], [10, 1, 0, 1, 0], [20, 0.5, 0, 0.5, 0]]
    tree = read_deepxde_log(dat(tmp_path, rows), terms=["interior", "off"], weights=[2, 0])
    series = tree["series"]
    assert series["term"].values.tolist() == ["interior"]
    assert series["loss_raw"].values.tolist() == [[2.0], [0.5], [0.25]] and series["step"].values.tolist() == [
        0,
        10,
        20,
    ]
    notes = " ".join(tree.attrs["notes"])
    assert "off: of weight 0" in notes and "2 rows" in notes
    # Tested at the points of the training: nothing is held out.
    assert "held_out_loss" not in series


def test_deepxde_joined_and_cut_files(tmp_path):
    path = text(tmp_path, HEADER + "0 4 4\n10 2 2\n" + HEADER + "20 1 1\n30 0.")
    tree = read_deepxde_log(path)
    assert tree["series"]["step"].values.tolist() == [0, 10, 20] and "cut off" in tree.attrs["notes"][0]


@pytest.mark.parametrize(
    ("rows", "options", "match"),
    [
        ("0 1 1\n1 2\n2 3 3\n", {}, "line 3: expected 3 numbers"),
        ("0 1 1\n1 x 2\n", {}, "line 3: expected numbers, came '1 x 2'"),
        ("0 1 1\n1.5 2 2\n", {}, "line 3: expected a whole step"),
        ("-1 1 1\n", {}, "whole step"),
        ("nan 1 1\n", {}, "whole step"),
        ("", {}, "save the history after training"),
        ("0 1\n", {}, "1 rows of 2 numbers"),
        ("0 1 1\n", {"terms": ["a", "b"]}, "name as many as the training had"),
        ("0 1 1 2\n", {"terms": ["a"], "metrics": ["m", "n"]}, "name as many as the training had"),
        ("0 1 1\n", {"metrics": ["m"]}, "even number of losses"),
        ("0 1 1\n", {"terms": ["a"], "weights": [1, 2]}, "1 terms and 2 weights"),
        ("0 1 1\n", {"terms": "a"}, "into brackets"),
        ("0 1 1\n", {"terms": ["a", "a"]}, "name each loss once"),
        ("0 1 1\n", {"weights": [-1.0]}, "pass loss_weights"),
        ("0 1 1\n", {"weights": [0.0]}, "pass loss_weights"),
        ("0 1 1 1\n", {"metrics": ["loss"]}, "rename it"),
    ],
)
def test_deepxde_refusals(tmp_path, rows, options, match):
    with pytest.raises(ValueError, match=match):
        read_deepxde_log(text(tmp_path, HEADER + rows), **options)


# Names, weights, order.


@pytest.mark.parametrize(
    ("logged", "scalars", "terms", "weights"),
    [
        (["train_loss", "D_loss", "g1_loss"], {"loss": "train_loss"}, {"D": "D_loss", "g1": "g1_loss"}, {}),
        (
            ["ics_loss", "res_loss", "ics_weight", "res_weight", "ics_grad_norm", "l2_error"],
            {"rel_l2": "l2_error"},
            {"ics": "ics_loss", "res": "res_loss"},
            {"ics": "ics_weight", "res": "res_weight"},
        ),
        (
            ["Train/loss_pde", "Train/loss", "val/loss", "test_loss"],
            {"loss": "Train/loss"},
            {"pde": "Train/loss_pde"},
            {},
        ),
        (
            ["loss/pde", "loss/total", "loss_weights/pde"],
            {"loss": "loss/total"},
            {"pde": "loss/pde"},
            {"pde": "loss_weights/pde"},
        ),
        (
            ["train_loss_epoch", "train_loss_step", "bc_loss_epoch"],
            {"loss": "train_loss_step"},
            {"bc": "bc_loss_epoch"},
            {},
        ),
        (["lr-Adam", "max_error"], {"learning_rate": "lr-Adam", "max_error": "max_error"}, {}, {}),
        (["val/rel_l2_error"], {"rel_l2": "val/rel_l2_error"}, {}, {}),
        (["val_l2_error", "l2_error"], {"rel_l2": "l2_error"}, {}, {}),
        (["grad_norm"], {"gradient_norm": "grad_norm"}, {}, {}),
        (["val_loss", "Valid/pde_loss", "loss/test", "decay_weight"], {}, {}, {}),
    ],
)
def test_names(logged, scalars, terms, weights):
    found = meanings(logged)
    assert (found.scalars, found.terms, found.weights) == (scalars, terms, weights)
    kept = {*found.scalars.values(), *found.terms.values(), *found.weights.values(), *found.others.values()}
    assert kept == set(logged)


def test_names_that_the_format_uses_are_not_taken(tmp_path):
    path = text(tmp_path, "step,time,term,loss_weight,2x,a/b,a b,ünit\n0,1,2,3,4,5,6,7\n")
    series = read_log(path)["series"]
    names = ("time_logged", "term_logged", "loss_weight_logged", "value_2x", "a_b", "a_b_2", "nit")
    assert {name: series[name].item() for name in series.data_vars} == dict(zip(names, range(1, 8), strict=True))
    assert series["a_b_2"].attrs["long_name"] == "as logged: a b"
    write_trajectory(read_log(path), tmp_path / "run.h5")
    assert dynamics.validate(tmp_path / "run.h5") == []


def test_names_as_told(tmp_path):
    path = text(tmp_path, "step,J,phys,walls,score\n0,9,1,2,0.5\n1,5,1,1,0.4\n")
    names = {"J": "loss", "phys": "loss_raw/interior", "walls": "loss_raw/bc", "score": ""}
    series = read_log(path, names=names, weights={"interior": 0.5, "bc": 2.0})["series"]
    assert series["loss_raw"].values.tolist() == [[2.0, 1.0], [2.0, 0.5]] and "score" not in series
    assert series["loss_weight"].values.tolist() == [[0.5, 2.0]] * 2


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"names": {"absent": "loss"}}, "expected a name of the log"),
        ({"names": {"a": "nonsense"}}, "expected a place such as"),
        ({"names": {"a": "loss", "b": "loss"}}, "each place once"),
        ({"weights": {"x": 1.0}}, "a weight for each of the terms"),
        ({"names": {"a": "loss_raw/x"}, "weights": {"x": 0.0}}, "weights above 0"),
    ],
)
def test_names_and_weights_that_do_not_fit(tmp_path, options, match):
    with pytest.raises(ValueError, match=match):
        read_lightning_log(text(tmp_path, "step,a,b\n0,1,2\n"), **options)


def test_balance_of_terms():
    generator = np.random.default_rng(0)
    terms = generator.random((30, 3)) * [1e-6, 1.0, 1e3]
    moving = generator.random((30, 3))
    names = ["a", "b", "c"]
    weights = np.array([1e6, 3.0, 1e-3])
    assert balance(terms @ weights, terms, None, names).weight[4] == pytest.approx(weights, rel=1e-8)
    assert balance(terms.sum(axis=1), terms, None, names).weight.tolist() == np.ones((30, 3)).tolist()
    assert balance((moving * terms).sum(axis=1), terms, None, names).weight is None
    logged = balance((moving * terms).sum(axis=1), terms, moving, names)
    assert logged.raw is terms and "unweighted" in logged.note
    undone = balance(terms.sum(axis=1), terms, moving, names)
    assert (undone.raw * moving) == pytest.approx(terms, rel=1e-14)
    assert "neither" in balance(np.ones(30), terms, moving, names).note
    # Weights that are negative, that are not determined, or that too few rows tell, are none.
    assert balance(terms @ [1e6, -1e-3, 1e-3], terms, None, names).weight is None
    assert balance(terms[:, 1] * 5, np.stack([terms[:, 1]] * 2, axis=1), None, names[:2]).weight is None
    assert balance(terms[:5] @ weights, terms[:5], None, names).weight is None


def test_terms_that_are_no_parts_of_one_loss(tmp_path):
    tree = read_log(text(tmp_path, "step,train_loss,reg_loss\n0,9,1\n1,7,2\n2,5,1\n3,3,4\n4,1,2\n"))
    assert "loss_raw" not in tree["series"] and tree["series"]["reg_loss"].values.tolist() == [1, 2, 1, 4, 2]
    assert any("not the whole loss" in note for note in tree.attrs["notes"])
    tree = read_log(text(tmp_path, "step,a_loss,b_loss\n0,9,\n1,,2\n2,5,\n3,,4\n4,1,2\n"))
    assert "loss_raw" not in tree["series"] and any("different steps" in note for note in tree.attrs["notes"])
    assert any("no loss was found" in note for note in tree.attrs["notes"])


def test_order_is_that_of_a_single_column():
    generator = np.random.default_rng(3)
    for _ in range(200):
        steps = generator.integers(0, 12, 15)
        values = generator.random(15)
        log = Entries("log")
        for step, value in zip(steps.tolist(), values.tolist(), strict=True):
            log.add("loss", step, value)
        ordered = log.ordered()
        expected_step, expected = in_order(steps, values)
        assert ordered.step.tolist() == expected_step.tolist()
        assert ordered.columns["loss"].tolist() == expected.tolist()
        assert ordered.superseded == 15 - len(expected)


def test_a_restart_of_one_quantity_is_one_of_all():
    log = Entries("log")
    for name, step, value in (
        ("loss", 0, 1.0), ("val", 0, 1.0), ("loss", 5, 0.5), ("loss", 10, 0.2), ("val", 10, 9.0),
        ("loss", 5, 0.6), ("epoch", 5, 1.0), ("epoch", 5, 1.0),
    ):  # fmt: skip
        log.add(name, step, value)
    ordered = log.ordered()
    assert ordered.step.tolist() == [0, 5] and ordered.columns["val"].tolist()[0] == 1.0
    # Two losses and a validation; the epoch was only repeated.
    assert np.isnan(ordered.columns["val"][1]) and ordered.superseded == 3


# Lightning.


def test_lightning_restart_takes_validations_along(tmp_path):
    path = text(tmp_path, "step,train_loss,val_loss\n0,4.0,\n10,3.0,\n10,,9.0\n20,2.0,\n5,3.5,\n6,3.0,\n")
    series = read_log(path)["series"]
    assert series["step"].values.tolist() == [0, 5, 6] and series["loss"].values.tolist() == [4.0, 3.5, 3.0]
    assert np.isnan(series["val_loss"].values).all()


def test_lightning_columns_of_text_and_cut_lines(tmp_path):
    tree = read_log(text(tmp_path, "epoch,host,step,train_loss\n0,node1,0,2.0\n0,node1,,7.0\n0,node1,1,1.0\n0,nod"))
    assert tree["series"]["loss"].values.tolist() == [2.0, 1.0] and "host" not in tree["series"]
    notes = " ".join(tree.attrs["notes"])
    assert "host: no numbers" in notes and "cut off" in notes and "1 rows without a step" in notes


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("step,a\n0,1\n1,1,1\n", "line 3: expected 2 cells, came 3"),
        ("step,a\n0,1\n1,x\n", "line 3: expected a number in column 'a', came 'x'"),
        ("step,a\n0,1\n1,1_0\n", "line 3"),
        ("step,a\nx,1\n", "line 2: expected a whole step"),
        ("step,a\n0,1\n1.5,1\n", "line 3: expected a whole step"),
        ("step,a\n-1,1\n", "whole step"),
        ("step,a\n1e300,1\n", "whole step"),
        ("step,a\n,1\n", "expected steps"),
        ("step,a,a\n0,1,1\n", "a twice"),
        ("step,a\n", "expected logged numbers, came none"),
        ("step,a\n0,\n", "expected logged numbers, came none"),
        ("step,a\n0," + "1" * 200_000 + "\n", "cannot be read"),
        ("step," + ",".join(f"c{k}" for k in range(5000)) + "\n", "2 to 4096 columns"),
    ],
)
def test_csv_refusals(tmp_path, content, match):
    with pytest.raises(TrajectoryError, match=match):
        read_lightning_log(text(tmp_path, content))


def test_limits(tmp_path, monkeypatch):
    path = text(tmp_path, "step,a\n0,1\n1,1\n2,1\n")
    monkeypatch.setattr(entries_module, "MOST_VALUES", 2)
    with pytest.raises(TrajectoryError, match="log less often"):
        read_log(path)
    monkeypatch.setattr(text_table, "MOST_BYTES", 4)
    with pytest.raises(TrajectoryError, match="thin it out"):
        read_log(path)
    monkeypatch.setattr(tensorboard_module, "MOST_BYTES", 4)
    with pytest.raises(TrajectoryError, match="pass one of the files"):
        read_log(LOGS / "tensorboard")


# W&B.

CHART = (
    '"Step","good - train/loss","good - train/loss__MIN","good - train/loss__MAX","good - _step","good - _step__MIN",'
    '"a - b - train/loss"\n"0","1.0","1.0","1.0","0","0","5.0"\n"10","0.5","0.4","0.6","10","10",""\n'
    '"20","NaN","","","","","4.0"\n'
)


def test_wandb_chart(tmp_path):
    path = text(tmp_path, CHART)
    tree = read_wandb_log(path, run="good")
    assert list(tree["series"].data_vars) == ["loss"] and tree["series"]["loss"].values[:2].tolist() == [1.0, 0.5]
    assert any("1 of 2 rows stand for several steps" in note for note in tree.attrs["notes"])
    assert tree.attrs["status"] == "diverged" and json.loads(tree.attrs["config"])["imported"]["run"] == "good"
    other = read_wandb_log(path, run="a - b")["series"]
    assert other["loss"].values.tolist() == [5.0, 4.0] and other["step"].values.tolist() == [0, 20]
    with pytest.raises(TrajectoryError, match=r"2 runs \(good, a - b\): pass run="):
        read_log(path)
    with pytest.raises(ValueError, match="expected one of the runs"):
        read_wandb_log(path, run="bad")


def test_wandb_history(tmp_path):
    content = (
        ",_step,_runtime,_timestamp,_wandb,ics_loss,res_loss,ics_weight,res_weight,l2_error,hist\n"
        "0,0,2.0,1700000002.0,{},0.5,2.0,10,1,0.9,\"{'_type': 'histogram'}\"\n"
        "1,100,4.0,1700000004.0,{},0.25,1.0,4,2,Infinity,\n"
    )
    tree = read_log(text(tmp_path, content))
    series = tree["series"]
    assert series["loss"].values.tolist() == [7.0, 3.0] and series["time"].values.tolist() == [2.0, 4.0]
    assert series["rel_l2"].values.tolist() == [0.9, np.inf] and tree.attrs["created"] == "2023-11-14T22:13:20+00:00"
    assert set(series.data_vars) == {"loss", "loss_raw", "loss_weight", "rel_l2"}
    assert any(note == "hist: no numbers, left out" for note in tree.attrs["notes"])
    with pytest.raises(ValueError, match="names none"):
        read_wandb_log(text(tmp_path, content), run="x")


def test_wandb_other_axis(tmp_path):
    path = text(tmp_path, '"Relative Time (Wall)","r - loss","r - loss__MIN","r - loss__MAX"\n"0.5","1","1","1"\n')
    with pytest.raises(TrajectoryError, match="choose Step as the chart's x axis"):
        read_log(path)


# TensorBoard.


def tensor(dtype, content=b"", shape=b"", values=b""):
    return field(8, b"\x08" + varint(dtype) + shape + (field(4, content) if content else b"") + values)


ONE = field(2, field(2, b"\x08\x01"))
TWO = field(2, field(2, b"\x08\x02"))


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (simple(0.5), 0.5),
        (tensor(1, struct.pack("<f", 0.25)), 0.25),
        (tensor(2, struct.pack("<d", 0.1), ONE), 0.1),
        (tensor(3, struct.pack("<i", -7)), -7.0),
        (tensor(9, struct.pack("<q", -(2**40))), -(2.0**40)),
        (tensor(19, struct.pack("<e", 1.5)), 1.5),
        (tensor(14, b"\xc0\x3f"), 1.5),
        (tensor(1, values=field(5, struct.pack("<f", 3.5))), 3.5),
        (tensor(1, values=b"\x2d" + struct.pack("<f", 3.5)), 3.5),
        (tensor(2, values=field(6, struct.pack("<d", 1e-300))), 1e-300),
        (tensor(3, values=field(7, varint(-3))), -3.0),
        (tensor(9, values=b"\x50" + varint(-5)), -5.0),
        (tensor(19, values=field(13, varint(0x3E00))), 1.5),
        (tensor(14, values=field(13, varint(0x3FC0))), 1.5),
        (tensor(1, struct.pack("<2f", 1, 2), TWO), None),
        (tensor(1, values=field(5, struct.pack("<f", 1.0)), shape=TWO), None),
        (tensor(7, values=field(8, b"text")), None),
        (field(5, b"histogram"), None),
    ],
)
def test_values_of_events(value, number):
    scalars = read_event(event(3, [("tag", value)])).scalars
    assert scalars == ((("tag", number),) if number is not None else ())


def test_steps_below_zero_are_read_as_such():
    assert [read_event(event(step)).step for step in (-1, 0, 2**40)] == [-1, 0, 2**40]


def test_checksum_of_rfc_3720():
    # Its test vectors, unmasked: 32 bytes of 0, of ff, and 0 to 31.
    for data, expected in ((bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E)):
        rotated = (masked_crc32c(data) - 0xA282EAD8) & 0xFFFFFFFF
        assert ((rotated << 15) | (rotated >> 17)) & 0xFFFFFFFF == expected


def test_a_cut_file_keeps_what_is_whole(tmp_path):
    records = [event(step, [("loss", simple(1.0 / (1 + step)))]) for step in range(4)]
    whole = framed(*records)
    ends = np.cumsum([len(record) + 16 for record in records])
    path = tmp_path / "events.out.tfevents.1"
    for size in range(ends[0], len(whole)):
        path.write_bytes(whole[:size])
        tree = read_tensorboard_log(path)
        assert tree["series"].sizes["step"] == np.searchsorted(ends, size, "right")
        assert any("cut off" in note for note in tree.attrs["notes"]) == (size not in ends)


def test_no_damage_is_more_than_an_error(tmp_path):
    whole = framed(
        *(event(step, [("loss", simple(1.0)), ("x", tensor(2, struct.pack("<d", 2.0), ONE))]) for step in range(3))
    )
    path = tmp_path / "events.out.tfevents.1"
    generator, outcomes = np.random.default_rng(1), set()
    for _ in range(120):
        damaged = bytearray(whole)
        damaged[generator.integers(len(whole))] ^= 1 << generator.integers(8)
        path.write_bytes(damaged)
        try:
            tree = read_tensorboard_log(path)
        except TrajectoryError as error:
            outcomes.add("refused")
            assert str(path) in str(error)
        else:
            assert any("damaged" in note or "cut off" in note for note in tree.attrs["notes"])
            assert (tree["series"]["loss"].values == 1.0).all()
            outcomes.add("read as far as it goes")
    assert len(outcomes) == 2
    records = [event(5, [("loss", simple(1.0)), ("x", tensor(9, values=field(10, varint(-2)), shape=ONE))])]
    for _ in range(3000):
        noise = bytearray(records[0])
        for _ in range(3):
            noise[generator.integers(len(noise))] = generator.integers(256)
        try:
            read_event(bytes(noise))
        except ValueError as error:
            outcomes.add(type(error))
    assert ValueError in outcomes


def test_restarted_runs_and_their_folders(tmp_path):
    run = tmp_path / "version_0"
    first = [event(step, [("loss", simple(1.0)), ("val", simple(1.0))], 1.7e9 + step) for step in range(6)]
    events(run, *first)
    events(
        run,
        event(3, [("loss", simple(2.0))], 1.7e9 + 100),
        event(4, [("loss", simple(2.0))]),
        name="events.out.tfevents.2",
    )
    tree = read_log(tmp_path)
    series = tree["series"]
    assert series["step"].values.tolist() == [0, 1, 2, 3, 4] and series["loss"].values.tolist() == [1, 1, 1, 2, 2]
    assert np.isnan(series["val"].values[3:]).all() and series["time"].values[3] == 100.0
    assert any("6 values" in note for note in tree.attrs["notes"])
    events(tmp_path / "version_1", *first)
    with pytest.raises(TrajectoryError, match=r"2 runs \(version_0, version_1\): pass one of the folders"):
        read_log(tmp_path)


def test_purge_step(tmp_path):
    start = field(7, b"\x08\x01")
    records = [
        event(0, [("loss", simple(1.0))]),
        event(9, [("val", simple(1.0))]),
        event(5, extra=start),
        event(6, [("loss", simple(2.0))]),
    ]
    series = read_log(events(tmp_path, *records))["series"]
    assert series["step"].values.tolist() == [0, 6]


def test_what_is_passed_over_is_told(tmp_path):
    records = [
        event(0, [("loss", simple(1.0))]),
        b"\x0b\x0b",
        event(-1, [("loss", simple(3.0))]),
        event(1, [("loss", simple(2.0))]),
    ]
    path = events(tmp_path, *records)
    large = bytes(LARGEST + 1)
    with path.open("ab") as file:
        length = struct.pack("<Q", len(large))
        file.write(
            length
            + struct.pack("<I", masked_crc32c(length))
            + large
            + bytes(4)
            + framed(event(2, [("loss", simple(4.0))]))
        )
    tree = read_log(path)
    assert tree["series"]["loss"].values.tolist() == [1.0, 2.0, 4.0]
    notes = " ".join(tree.attrs["notes"])
    assert (
        "1 records that are no events" in notes
        and "1 values at steps below 0" in notes
        and "1 records above 256" in notes
    )
    with pytest.raises(TrajectoryError, match="expected scalars, came none"):
        read_log(events(tmp_path / "empty", event(0)))


# Wrong files.


@pytest.mark.parametrize(
    ("content", "looks_like"),
    [
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"PK\x03\x04", "a zip archive"),
        (b"\x80\x04\x95", "a pickle"),
        (b"\x1f\x8b\x08", "a gzip archive"),
        (b":W&B\x01", "W&B's own binary log"),
        (b"", "an empty file"),
        (b"\xff\xfe\x41", "a text in another encoding"),
        (b"a\0b", "a binary file"),
        (b'{"loss": 1}', "JSON"),
        (b"x,y\n1,2\n", "a table with the columns 'x, y'"),
        (b"# epochs\n1 2\n", "a text that begins with '# epochs'"),
        (b"hello\n", "a text that begins with 'hello'"),
    ],
)
def test_other_files_are_named(tmp_path, content, looks_like):
    path = tmp_path / "loss.dat"
    path.write_bytes(content)
    for read in (read_log, read_deepxde_log, read_lightning_log, read_tensorboard_log, read_wandb_log):
        with pytest.raises(TrajectoryError, match="came " + looks_like):
            read(path)


def test_another_reader_is_named():
    with pytest.raises(TrajectoryError, match=r"came a Lightning metrics\.csv: read it with read_lightning_log"):
        read_deepxde_log(LOGS / "metrics.csv")
    with pytest.raises(TrajectoryError, match=r"came a DeepXDE loss\.dat: read it with read_deepxde_log"):
        read_tensorboard_log(LOGS / "loss.dat")
    with pytest.raises(TrajectoryError, match=r"a folder with loss\.dat, metrics\.csv \(pass the file\)"):
        read_log(LOGS)
    with pytest.raises(TrajectoryError, match="came nothing: check the path"):
        read_log(LOGS / "absent")
    with pytest.raises(TrajectoryError, match="no regular file"):
        read_log("/dev/null")


def test_published_logs_are_recognised(tmp_path):
    path = text(tmp_path, "iteration,mean_norm,std_norm\n2,3.0,4.0\n4,3.0,3.0\n6,6.0,3.0\n")
    assert read_log(path)["gradients/mean_norm_total"].values.tolist() == [3.0, 3.0, 6.0]


def test_paths_of_this_machine_stay_out(tmp_path):
    tree = read_log(text(tmp_path, "step,train_loss\n0,1.0\n1,0.5\n"))
    assert str(tmp_path) not in str(tree.attrs) and tree.attrs["source"] == "log"
