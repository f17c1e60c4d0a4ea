"""Inverse problems and odd networks from TOML: what reaches the run, what is printed, what the file says of it."""

import json
import re

import pytest
import torch
from typer.testing import CliRunner

from analyses.cli import app
from analyses.coefficients import coefficient_lines
from analyses.config import UsageError, case_names, load
from analyses.construction import build_network, build_operator, build_optimizer, build_points, build_problem
from dynamics import open_trajectory
from solvers.networks import Odd
from solvers.problems import Coefficient, Problem, poisson_1d

PROFILE = """
[problem]
name = "selfsimilar-burgers"
k = 1
how = "trained"
interval = [0.21, 0.3]
[network]
name = "mlp"
widths = [6]
odd = true
[operator]
name = "tangent-prop"
[optimizer]
name = "flat-lbfgs"
[training]
steps = 2
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        (tmp_path / "run.toml").write_text(text)
        return load(str(tmp_path / "run.toml"))

    return write


# Odd networks.


@pytest.mark.parametrize(
    "options",
    [
        'name = "mlp"\nwidths = [4, 4]',
        'name = "modified-mlp"\nwidths = [4, 4]',
        'name = "residual-mlp"\nwidth = 4\nblocks = 2',
        'name = "fourier-mlp"\nfeatures = 3\nwidths = [4]',
        'name = "two-layer"\nwidth = 5',
    ],
)
def test_any_trained_network_can_be_odd(written, options):
    text = f'[problem]\nname = "burgers"\n[network]\n{options}\n'
    odd, whole = (written(text + line) for line in ("odd = true", "odd = false"))
    found, plain = (build_network(config, build_problem(config)).double() for config in (odd, whole))
    x = torch.tensor([[0.3, 0.2], [-0.5, 0.9]], dtype=torch.float64)
    assert isinstance(found, Odd) and not isinstance(plain, Odd)
    torch.testing.assert_close(found(x), plain(x) - plain(-x), msg="the same seed, the same weights")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("odd = true", "odd = 1", "key 'network.odd': expected true or false, came 1"),
        ("odd = true", 'odd = "yes"', "key 'network.odd': expected true or false"),
        ("odd = true", "od = true", r"'mlp' has no option 'od'; expected 'odd' \(did you mean it\?\) or one of .*odd"),
        ("widths", "width", "has no option 'width'; expected 'widths'"),
        (
            'name = "mlp"\nwidths = [6]',
            'name = "random-features"\nfeatures = 5',
            "'network.odd' has no meaning for 'random-features', .* take a network that is trained",
        ),
    ],
)
def test_mistakes_with_odd_are_named(written, old, new, said):
    config = written(PROFILE.replace(old, new))
    with pytest.raises(UsageError, match=said):
        build_network(config, build_problem(config))


def test_the_options_of_a_profile_reach_the_problem(written):
    problem = build_problem(written(PROFILE))
    (found,) = problem.coefficients
    assert (found.how, found.low, found.high, problem.settings["k"]) == ("trained", 0.21, 0.3, 1)
    with pytest.raises(UsageError, match="'selfsimilar-burgers': expected an interval of lambda"):
        build_problem(written(PROFILE.replace("[0.21, 0.3]", "[0.3, 0.21]")))


# Inverse problems.


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("measurements = 1", "'inverse-heat': expected a whole number of measurements"),
        ("noise = -1.0", "expected noise from 0 on"),
        ("diffusivity = 0.0", "expected diffusivity > 0"),
        ("start = 9.0", "expected the start of diffusivity between its bounds"),
        ("points = [[0.0, 0.5], [2.0, 0.5]]", r"leave them out"),
        ("noize = 0.1", "has no option 'noize'; expected 'noise'"),
    ],
)
def test_mistakes_in_an_inverse_problem_are_named(written, options, said):
    text = PROFILE.replace("selfsimilar-burgers", "inverse-heat")
    text = re.sub(r'k = 1\nhow = "trained"\ninterval = .*', options, text)
    config = written(text)
    with pytest.raises(UsageError, match=said):
        build_problem(config)


def test_the_cases_are_what_they_say():
    assert {"inverse-heat", "inverse-burgers", "selfsimilar-burgers"} <= set(case_names())
    for name, coefficient in (("inverse-heat", "diffusivity"), ("inverse-burgers", "viscosity")):
        problem = build_problem(load(name))
        (found,) = problem.coefficients
        assert found.name == coefficient and found.start == pytest.approx(5 * found.exact)
    profile = load("selfsimilar-burgers")
    problem = build_problem(profile)
    assert isinstance(build_network(profile, problem), Odd) and build_points(profile, problem).counts[0] == 150
    assert build_operator(profile).__class__.__name__ == "TangentProp"
    assert build_optimizer(profile).__class__.__name__ == "SSBroyden"


def test_a_run_prints_its_coefficient_and_records_what_is_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["run", "inverse-heat", "--steps", "40", "-o", "run.h5"])
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("  diffusivity")]
    told = re.fullmatch(r"  diffusivity (\S+), true 0.1 \(error (\S+), (\S+) standard errors of (\S+)\)", line)
    value, error, off, standard = map(float, told.groups())
    with open_trajectory(tmp_path / "run.h5") as tree:
        last = float(tree["coefficients/value"][-1, 0])
        problem = json.loads(tree.attrs["config"])["problem"]
        assert tree["points/data"].shape == (200, 2)
    assert value == pytest.approx(last, rel=1e-9) and error == pytest.approx(abs(last - 0.1), rel=0.06)
    assert standard == pytest.approx(problem["settings"]["standard_error"]["diffusivity"], rel=0.05)
    assert off == pytest.approx(error / standard, rel=0.1)
    assert problem["coefficients"] == {
        "diffusivity": {"start": 0.5, "low": 0.0, "high": 3.0, "how": "trained", "exact": 0.1}
    }
    assert f"coefficients diffusivity {last:.10g}" in CliRunner().invoke(app, ["info", "run.h5"]).output


def test_what_is_not_known_is_not_printed():
    def of(coefficient, **settings):
        base = poisson_1d()
        return Problem("p", base.domain, base.partials, base.residual, (), (coefficient,), settings=settings)

    (line,) = coefficient_lines(of(Coefficient("c", 0.5, 0.0, 1.0)), {"c": 0.25})
    assert line == "c 0.25"
    (line,) = coefficient_lines(of(Coefficient("c", 0.5, 0.0, 1.0)), {"c": 1.0})
    assert line == "c 1 (its upper bound)"
    (line,) = coefficient_lines(of(Coefficient("c", 0.5), standard_error={"c": 0.01}), {"c": 0.25})
    assert line == "c 0.25, standard error 1.0e-02"
    (line,) = coefficient_lines(of(Coefficient("c", 0.5, exact=0.5), standard_error={"c": 0.0}), {"c": 0.25})
    assert line == "c 0.25, true 0.5 (error 2.5e-01)"
    assert list(coefficient_lines(poisson_1d(), {})) == []
