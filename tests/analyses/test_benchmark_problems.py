import math
import re

import pytest
import torch

from analyses.benchmarks import problems
from analyses.config import CASES, UsageError, case_names, load
from analyses.construction import OPERATORS, build_network, build_operator, build_optimizer, build_points, build_problem
from analyses.listing import benchmarks, show
from solvers.networks import MLP
from solvers.objective import Objective
from solvers.problems import PROBLEMS


def refused(problem, operator):
    """Why an operator does not apply to a problem, "" where it does."""
    if problem.name == "selfsimilar-burgers" and operator in ("finite-difference", "rbf-fd"):
        return "reaches derivatives up to order 4"
    if operator == "rbf-fd" and getattr(problem.domain, "periodic", ()):
        return "is periodic in x, and nodes are not"
    if operator == "rbf-fd" and len(problem.axes) > 3:
        return "dimensions"
    return ""


def test_every_problem_has_a_case_of_its_name():
    assert benchmarks() == list(PROBLEMS)
    assert all(load(name).problem.name == name for name in benchmarks())


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_problem_runs_with_every_operator_that_applies(name):
    torch.manual_seed(0)
    losses = {}
    for operator in OPERATORS:
        config = load(name).override(operator=operator)
        config.points.interior = 200 if config.points.method == "nodes" else 60
        config.points.times = 4 if config.points.times else None
        problem = build_problem(config)
        network = MLP(len(problem.axes), [8], problem.components).double()
        try:
            points = build_points(config, problem)
            objective = Objective(problem, network, build_operator(config), points)
        except ValueError as error:
            assert refused(problem, operator) in str(error)
            assert refused(problem, operator)
            continue
        assert not refused(problem, operator)
        losses[operator] = float(objective(objective.vector).value.detach())
    assert all(math.isfinite(loss) and loss > 0 for loss in losses.values())
    assert {"autodiff", "tangent-prop"} <= set(losses)


@pytest.mark.parametrize("name", [name for name in case_names() if "[full]" in (CASES / f"{name}.toml").read_text()])
def test_the_full_size_forms_build(name):
    config = load(name, full=True)
    assert config.title != load(name).title
    problem = build_problem(config)
    problem.check(build_points(config, problem))
    build_network(config, problem)
    build_optimizer(config)


def test_a_measured_row_is_that_of_the_run(tmp_path):
    row = problems.measure("inverse-heat", "tangent-prop", tmp_path, quick=True)
    assert row["status"] == "complete" and 0 < row["seconds"] < 60
    assert row["rel_l2"] > 1e-3
    assert "periodic" in problems.measure("kdv", "rbf-fd", tmp_path)["refused"]


def test_the_list_has_a_line_for_every_problem_and_case(capsys):
    show()
    out = capsys.readouterr().out
    assert all(len(line) <= 80 for line in out.splitlines())
    words = set(re.split(r"\s+", out))
    assert set(PROBLEMS) <= words
    assert set(case_names()) <= words
    assert f"{PROBLEMS['kdv']().solution_floor:.0e}" in words


def test_results_are_kept_and_read_again(tmp_path):
    file = tmp_path / "problems.json"
    problems.main(["inverse-heat"], operator="tangent-prop", missing=True, quick=True, json_file=file)
    first = file.read_text()
    problems.main(["inverse-heat"], operator="tangent-prop", missing=True, quick=True, json_file=file)
    assert file.read_text() == first
    assert set(problems.kept(file)) == {("inverse-heat", "tangent-prop")}
    with pytest.raises(Exception, match="unknown problem 'hea'"):
        problems.main(["hea"], operator=None, missing=True, quick=True, json_file=None)


def test_the_committed_results_are_of_problems_that_exist():
    rows = problems.kept()
    assert {name for name, _ in rows} == set(PROBLEMS)
    assert all("refused" in row or row["status"] == "complete" for row in rows.values())
    for name in PROBLEMS:
        row = rows[name, load(name).operator.name]
        assert row["rel_l2"] < 1.0
        assert row["seconds"] < 120


TEXT = """
[problem]
name = "helmholtz"
[network]
name = "mlp"
widths = [8]
activation = "sine"
[optimizer]
name = "ssbroyden"
[training]
steps = 5
[weights]
boundary = 100.0
"""


def test_the_full_form_replaces_what_it_names(written):
    full = '[full]\nnetwork = { widths = [16, 16] }\noptimizer = { name = "adam", lr = 1e-3 }\nweights = false\n'
    short, whole = (load(written(TEXT + full), full=asked) for asked in (False, True))
    assert short == load(written(TEXT))
    assert whole.network.options == {"widths": [16, 16], "activation": "sine"}
    assert whole.optimizer.options == {"lr": 1e-3}
    assert (short.weights, whole.weights) == ({"boundary": 100.0}, {})
    assert whole.training == short.training


def test_false_removes_a_table_and_is_a_value_inside_one(written):
    attention = "[attention]\ninside = true\n"
    kept = load(written(TEXT + attention + "[full]\nattention = { inside = false }\n"), full=True)
    assert kept.attention.inside is False
    assert load(written(TEXT + attention + "[full]\nattention = false\n"), full=True).attention is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("", "has no full-size form: leave --full out"),
        ("[full]\nnetwrk = {}", "run.toml \\[full\\]: unknown key 'netwrk'; expected 'network'"),
        ("[ful]\n", "unknown key 'ful'; expected 'full'"),
    ],
)
def test_a_full_form_that_is_wrong_is_refused(written, more, message):
    with pytest.raises(UsageError, match=message):
        load(written(TEXT + more), full=True)


def test_a_full_form_is_a_table(written):
    with pytest.raises(UsageError, match="expected a table \\[full\\]"):
        load(written("full = 3\n" + TEXT))


def test_weights_are_those_of_conditions(written):
    (condition,) = build_problem(load(written(TEXT))).conditions
    assert condition.weight == 100.0
    with pytest.raises(UsageError, match=r"'weights\.bondary'.*expected 'boundary'"):
        build_problem(load(written(TEXT.replace("boundary =", "bondary ="))))
    with pytest.raises(UsageError, match=r"weights\.boundary"):
        load(written(TEXT.replace("100.0", "-1.0")))


def test_another_operator_takes_its_own_points():
    config = load("helmholtz")
    assert config.override(operator="tangent-prop") == config
    other = config.override(operator="rbf-fd")
    assert other.operator.name == "rbf-fd" and other.points.method == "nodes"
    assert other.points.interior == config.points.interior and other.points.boundary is None
    timed = load("burgers").override(operator="rbf-fd").points
    assert (timed.interior, timed.times) == (load("burgers").points.interior // 25, 25)
    assert other.title == f"{config.title}; rbf-fd instead"
    with pytest.raises(UsageError, match=r"'rbf-fd' does not apply: kdv is periodic in x, .*; take another one$"):
        kdv = load("kdv").override(operator="rbf-fd")
        build_points(kdv, build_problem(kdv))
