import re
import tomllib

import pytest
import torch

from analyses.config import CASES, AttentionSection, RunConfig, TrainingSection, UsageError, case_names, load
from analyses.construction import (
    ACTIVATIONS,
    build_network,
    build_operator,
    build_optimizer,
    build_points,
    build_problem,
)
from analyses.run import run
from dynamics import open_trajectory
from dynamics.configuration import section
from solvers.optimizers.lbfgs import LBFGS
from solvers.optimizers.levenberg_marquardt import LevenbergMarquardt
from solvers.optimizers.ssbfgs import SSBFGS
from solvers.optimizers.ssbroyden import SSBroyden
from solvers.optimizers.until import Evaluations, Steps, Stopped

TRAINED = """
[problem]
name = "poisson-1d"
[network]
name = "mlp"
widths = [8]
[optimizer]
name = "adam"
lr = 1e-2
[training]
steps = 5
"""


@pytest.mark.parametrize("name", case_names())
def test_every_case_builds(name):
    config = load(name)
    problem = build_problem(config)
    problem.check(build_points(config, problem))
    build_operator(config)
    build_network(config, problem)
    if config.training:
        build_optimizer(config)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (TRAINED.replace("[optimizer]", "[optimiser]"), "unknown key 'optimiser'; expected 'optimizer'"),
        (TRAINED.replace("steps", "step"), "unknown key 'training.step'; expected 'steps'"),
        (TRAINED.replace("steps = 5", "steps = 0"), "training.steps"),
        (TRAINED.replace("[network]\nname", "[network]\nnaem"), "key 'network.name': field required"),
        ("seed = 1.5\n" + TRAINED, "key 'seed'"),
        (TRAINED + "\n[problem]", "is not TOML"),
        (TRAINED + 'every = "5"', "'training.every': input should be a valid integer, came '5'"),
        (TRAINED + "every = 0", "'training.every': input should be greater than 0"),
        (TRAINED + "lr_cut = true", "'training.lr_cut': input should be a valid integer, came True"),
        (TRAINED + "lrcut = 5", "unknown key 'training.lrcut'; expected 'lr_cut'"),
        (TRAINED + "[attention]\ngamma = 1.0", "'attention.gamma': input should be less than 1"),
        (TRAINED + "[attention]\neta = 0", "'attention.eta': input should be greater than 0"),
        (TRAINED + "[attention]\neta = inf", "'attention.eta': input should be a finite number"),
        (TRAINED + '[attention]\ninside = "no"', "'attention.inside': input should be a valid boolean"),
        (TRAINED + "[attention]\ninitialisation = 3", "'attention.initialisation': input should be 1 or 2"),
        (TRAINED + '[attention]\nnormalise = "max"', "unknown key 'attention.normalise'; expected 'normalize'"),
    ],
)
def test_a_broken_file_is_named(written, broken, message):
    with pytest.raises(UsageError) as caught:
        load(written(broken))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "build", "message"),
    [
        (("poisson-1d", "poison"), build_problem, "unknown problem 'poison'; expected 'poisson-"),
        (('"poisson-1d"', '"poisson-1d"\nmodes = 2'), build_problem, "has no option 'modes'; expected 'mode'"),
        (('"poisson-1d"', '"poisson-1d"\nmode = 1.5'), build_problem, "expected 1 positive integer mode"),
        (("adam", "adma"), build_optimizer, "unknown optimizer 'adma'; expected 'adam'"),
        (("lr =", "learning_rate ="), build_optimizer, "no option 'learning_rate'"),
        (("lr = 1e-2", "lr = 1e-2\ndecay = 0.9"), build_optimizer, "come together"),
        (('"mlp"', '"mpl"'), lambda c: build_network(c, build_problem(c)), "unknown network 'mpl'"),
        (("[8]", "32"), lambda c: build_network(c, build_problem(c)), "list of integers"),
        (("[8]", "[8.5]"), lambda c: build_network(c, build_problem(c)), "integer sizes"),
        (("widths = [8]", ""), lambda c: build_network(c, build_problem(c)), "needs the option 'widths'"),
        (("[8]", "[8]\ninputs = 3"), lambda c: build_network(c, build_problem(c)), "no option 'inputs'"),
        (("[8]", '[8]\nactivation = ""'), lambda c: build_network(c, build_problem(c)), "unknown activation ''"),
        (("1e-2", '"big"'), build_optimizer, "[optimizer]"),
        (("1e-2", "-1.0"), build_optimizer, "Invalid learning rate"),
        (("1e-2", "1e-2\nbetas = [0.9, 0.9, 0.9]"), build_optimizer, "[optimizer]"),
        (("1e-2", "1e-2\nfused = true\nforeach = true"), build_optimizer, "[optimizer]"),
        (('"adam"', '"lbfgs"\nline_search_fn = "foo"'), build_optimizer, "strong_wolfe"),
        (("1e-2", "1e-2\ndecay = true\ndecay_every = true"), build_optimizer, "decay > 0"),
        (("1e-2", "1e-2\nbetas = [0.9]"), build_optimizer, "[optimizer]"),
        (("1e-2", "1e-2\ndecay = 0\ndecay_every = 5"), build_optimizer, "decay > 0"),
        (("1e-2", "1e-2\ndecay = 0.9\ndecay_every = 0"), build_optimizer, "decay_every >= 1"),
        (("widths", "width"), lambda c: build_network(c, build_problem(c)), "no option 'width'; expected 'widths'"),
        (("[8]", '[8]\nactivation = "tahn"'), lambda c: build_network(c, build_problem(c)), "expected 'tanh'"),
        (
            ("[network]", '[operator]\nname = "finite-difference"\nordr = 2\n[network]'),
            build_operator,
            "has no option 'ordr'; expected 'order'",
        ),
        (
            ("[network]", '[operator]\nname = "finite-difference"\norder = 3\n[network]'),
            build_operator,
            "order 2 or 4, came 3",
        ),
    ],
)
def test_a_wrong_name_or_option_is_named(written, change, build, message):
    config = load(written(TRAINED.replace(*change)))
    with pytest.raises(UsageError) as caught:
        build(config)
    assert message in str(caught.value)


def test_the_network_may_have_a_seed_of_its_own(written):
    text = '[problem]\nname = "poisson-1d"\n[network]\nname = "random-features"\nfeatures = 5\nseed = {}\n'
    drawn = []
    for seed in (5, 6):
        config = load(written(text.format(seed)))
        drawn.append(build_network(config, build_problem(config)).weight)
    assert (drawn[0] != drawn[1]).any()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MLP", 'name = "mlp"\nwidths = [4, 4]'),
        ("ModifiedMLP", 'name = "modified-mlp"\nwidths = [4, 4]'),
        ("ResidualMLP", 'name = "residual-mlp"\nwidth = 4\nblocks = 2'),
        ("FourierMLP", 'name = "fourier-mlp"\nfeatures = 3\nwidths = [4, 4]'),
    ],
)
def test_networks_and_activations_go_by_name(written, name, options, activation):
    config = load(written(f'[problem]\nname = "helmholtz"\n[network]\n{options}\nactivation = "{activation}"\n'))
    network = build_network(config, build_problem(config))
    assert type(network).__name__ == name
    assert ACTIVATIONS[activation] in {type(module) for module in network.modules()}


def test_fourier_frequencies_follow_the_seed_of_the_run(written):
    text = 'seed = {}\n[problem]\nname = "poisson-1d"\n[network]\nname = "fourier-mlp"\nfeatures = 5\nwidths = [4]\n'
    drawn = []
    for seed in ("5", "6"):
        config = load(written(text.format(seed)))
        drawn.append(build_network(config, build_problem(config))[0].frequencies)
    assert (drawn[0] != drawn[1]).all()


LOCAL = """
seed = 3
[problem]
name = "heat"
[network]
name = "local-features"
features = 5
cells = [3, 2]
activation = "sine"
[least_squares]
method = "qr"
rcond = 1e-12
weights = {boundary = 4.0}
iterations = 7
"""


def test_local_features_fill_the_domain_and_follow_the_seed_of_the_run(written):
    config = load(written(LOCAL))
    problem = build_problem(config)
    network = build_network(config, problem)
    x = problem.domain.grid((1, 5))
    edge = network.window(torch.tensor([[0.0, 0.5]], dtype=torch.float64)).reshape(6, 5)[:, 0]
    assert edge[2:4].tolist() == pytest.approx([0.5, 0.5], abs=1e-2), "the cells halve t in (0, 1) at 1/2"
    assert network.features(x).shape == (5, 30) and network.seed == 3
    refused = load(written(LOCAL.replace("cells", "lower = 0.0\ncells")))
    with pytest.raises(UsageError, match="has no option 'lower'"):
        build_network(refused, problem)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (LOCAL.replace('"qr"', '"lu"'), "least_squares.method"),
        (LOCAL.replace("rcond = 1e-12", "rcond = 1.5"), "least_squares.rcond"),
        (LOCAL.replace("boundary = 4.0", "boundary = -4.0"), "least_squares.weights"),
        (LOCAL.replace("iterations", "iteration"), "unknown key 'least_squares.iteration'; expected 'iterations'"),
    ],
)
def test_a_broken_least_squares_section_is_named(written, broken, message):
    with pytest.raises(UsageError) as caught:
        load(written(broken))
    assert message in str(caught.value)


def test_a_least_squares_section_needs_features(written, tmp_path):
    config = load(written(TRAINED + "[least_squares]\nmethod = 'qr'\n"))
    with pytest.raises(UsageError, match=r"\[least_squares\] has no meaning for the network 'mlp'"):
        run(config, tmp_path / "run.h5")


def test_the_least_squares_section_reaches_the_solver(written, tmp_path, capsys):
    text = LOCAL.replace('"heat"', '"nonlinear-poisson-1d"').replace("[3, 2]", "2") + "[points]\ninterior = 40\n"
    outcome = run(load(written(text)), tmp_path / "run.h5")
    assert outcome.status == "complete" and "Gauss-Newton steps" in capsys.readouterr().out
    with open_trajectory(outcome.path) as tree:
        assert "column-pivoted QR, rcond=1e-12" in tree.attrs["config"]
        assert tree["series/loss_weight"].values[0].tolist() == [1.0, 4.0]


def test_what_is_measured_and_how_points_are_weighted_reaches_the_run(written, tmp_path):
    text = TRAINED + "every = 2\nblocks = 3\nspectra = 4\nactivations = 6\nlr_cut = 2\n"
    text += '[attention]\ngamma = 0.9\neta = 0.1\ninside = false\ninitialisation = 2\nnormalize = "minmax"\n'
    outcome = run(load(written(text)), tmp_path / "run.h5")
    with open_trajectory(outcome.path) as tree:
        assert tree["gradients"]["step"].values.tolist() == [0, 2, 4, 5] and tree["gradients"].sizes["block"] == 3
        assert tree["residuals"]["step"].values.tolist() == [0, 2, 4, 5]
        assert tree["spectra"].sizes["index"] == 4 and tree["activations"].sizes["point"] == 6
        assert tree["lr_cut"].attrs["steps"] == 2
        rule = section(tree, "attention")
        assert rule["form"] == "mean(lambda r^2)" and rule["gamma"] == 0.9 and rule["eta"] == 0.1
        weights = tree["residuals/attention"].values
        # Initialisation 2 and min-max: after the first update the weights are the stretched residuals themselves.
        assert weights[1].max() > 0.9 and weights[1].min() < 0.1
    outcome = run(load(written(TRAINED)), tmp_path / "plain.h5")
    with open_trajectory(outcome.path) as tree:
        assert not {"spectra", "activations", "lr_cut"} & set(tree.children) and section(tree, "attention") == {}


def test_the_options_named_in_a_case_are_options():
    """The commented lines of the case are its documentation: each must load as it stands, without its comment."""
    text = (CASES / "helmholtz-rba.toml").read_text()
    named = re.findall(r"^# (\w+ = \S+)  ", text, re.MULTILINE)
    assert len(named) == 9
    for line in named:
        text = re.sub(rf"^# {re.escape(line)} .*$", line, text, flags=re.MULTILINE)
    config = RunConfig.model_validate(tomllib.loads(text))
    assert config.attention.model_fields_set == set(AttentionSection.model_fields)
    assert config.training.model_fields_set == set(TrainingSection.model_fields)


def test_widths_that_differ_are_refused_by_name(written):
    network = TRAINED.replace('"mlp"', '"modified-mlp"').replace("[8]", "[8, 9]")
    config = load(written(network))
    with pytest.raises(UsageError, match=r"'modified-mlp': expected equal widths .* came \(8, 9\)"):
        build_network(config, build_problem(config))


def test_tangent_prop_goes_by_name_with_its_options(written):
    config = load(written('[operator]\nname = "tangent-prop"\nbackend = "taylor"\n' + TRAINED))
    assert build_operator(config).backend == "taylor"
    config = load(written('[operator]\nname = "tangent-prop"\nbackend = "tayler"\n' + TRAINED))
    with pytest.raises(UsageError, match=r"'tangent-prop': expected a backend of auto, .* came 'tayler'"):
        build_operator(config)


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "run.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not text in UTF-8"):
        load(str(tmp_path / "run.toml"))


def test_the_command_line_overrides_and_is_checked():
    assert load("burgers").override(steps=7, dtype="float64").training.steps == 7
    with pytest.raises(UsageError, match="float16"):
        load("burgers").override(dtype="float16")
    with pytest.raises(UsageError, match="least-squares"):
        load("poisson-ad").override(steps=7)


def test_a_training_records_its_spectra_where_rows_are_asked_for(tmp_path):
    config = load("two-layer-fd").override(steps=8)
    config.training.spectra = 16
    outcome = run(config, tmp_path / "run.h5", progress=False)
    with open_trajectory(outcome.path) as tree:
        assert tree["spectra/singular_value"].shape[1] == 16
        assert int(tree["spectra"].attrs["rows"]) == 16 and int(tree["spectra_all"].attrs["rows"]) == 128
        assert (tree["spectra/entry_floor"].values > 0).all()
    assert load("helmholtz").training.spectra is None


NODES = """
[problem]
name = "disk-poisson"
[operator]
name = "rbf-fd"
order = 3
[points]
interior = 80
[network]
name = "mlp"
widths = [8]
[optimizer]
name = "schedule"
[[optimizer.stages]]
name = "flat-lbfgs"
history = 5
steps = 4
[[optimizer.stages]]
name = "levenberg-marquardt"
[training]
steps = 8
"""


def test_nodes_and_stages_reach_the_run(written, tmp_path, capsys):
    cached = NODES.replace("order = 3", f"order = 3\ncache = '{tmp_path / 'stencils'}'")
    outcome = run(load(written(cached)), tmp_path / "run.h5", progress=False)
    out = capsys.readouterr().out
    with open_trajectory(outcome.path) as tree:
        own, operator = section(tree, "discretisation"), section(tree, "operator")
        config, steps = tree.attrs["config"], tree["series/loss"].sizes["step"]
        assert section(tree, "problem")["shape"] == "Disk(center=(0.0, 0.0), radius=1.0)"
        assert section(tree, "points")["ghost"] == section(tree, "points")["boundary"]
        nodes = sum(section(tree, "points")[kind] for kind in ("interior", "boundary", "ghost"))
    assert steps == 9 and f"directly: order 3, {nodes} nodes\n" in out
    assert 0 < own["rel_l2"] < 0.5 and own["seconds"] > 0 and own["iterations"] >= 1
    assert f"(the discretisation's own: {own['rel_l2']:.1e})" in out
    assert operator["order"] == 3 and operator["time"].startswith("TangentProp(") and operator["nodes"] == nodes
    assert operator["stencil"] == {"dimension": 2, "degree": 4, "exponent": 5, "size": 31}
    assert 0 < operator["roundoff"]["xx+yy"] < 1e-9
    assert "stencils" not in config and (tmp_path / "stencils").is_dir(), "the path is used and not recorded"
    assert "Schedule((LBFGS(history=5" in config and "Steps(count=4)" in config and "LevenbergMarquardt(" in config


def test_a_discretisation_that_is_not_square_is_trained_all_the_same(written, tmp_path, capsys):
    config = load(written(NODES.replace("interior = 80", "interior = 80\nghost_layers = 2")))
    assert run(config, tmp_path / "run.h5", progress=False).status == "complete"
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if "no direct solve" in line]
    assert "disk-poisson: expected as many equations as unknowns" in line and "own:" not in out
    with open_trajectory(tmp_path / "run.h5") as tree:
        assert section(tree, "discretisation") == {}


def test_the_optimizers_of_a_file():
    (first, until), (second, last) = build_optimizer(load("disk-poisson")).stages
    assert first == LBFGS() and until == Evaluations(200) and second == LevenbergMarquardt() and last == Stopped()
    assert build_optimizer(load("poisson-lbfgs")).factory is torch.optim.LBFGS, "the name keeps its meaning"
    assert build_optimizer(load("disk-heat")) == LBFGS()


@pytest.mark.parametrize(("name", "method"), [("ssbroyden", SSBroyden), ("ssbfgs", SSBFGS)])
def test_self_scaled_optimizers_of_a_file(written, name, method):
    stage = NODES.replace('"flat-lbfgs"\nhistory = 5', f'"{name}"\nnoise = 1e-8')
    (first, until), _ = build_optimizer(load(written(stage))).stages
    assert first == method(noise=1e-8) and until == Steps(4)
    alone = TRAINED.replace('"adam"\nlr = 1e-2', f'"{name}"\ncurvature = 0.5')
    assert build_optimizer(load(written(alone))) == method(curvature=0.5)
    with pytest.raises(UsageError, match=rf"{method.__name__} has no option 'history'; it has max_evaluations"):
        build_optimizer(load(written(stage.replace("noise = 1e-8", "history = 5"))))


BOX = TRAINED.replace('"poisson-1d"', '"poisson-2d"')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOX + '[operator]\nname = "rbf-fd"\n', "came points.method = 'lhs': expected method = \"nodes\" in [points]"),
        (NODES.replace("= 80", '= 80\nmethod = "random"'), "'rbf-fd' takes its stencils from nodes"),
        (
            NODES.replace("= 80", '= 80\nmethod = "lhs"'),
            "lives on Disk(center=(0.0, 0.0), radius=1.0), expected one of",
        ),
        (BOX + '[points]\nmethod = "random"\n', "lives on a box, expected one of lhs, grid, nodes, came 'random'"),
        (NODES.replace("= 80", "= 80\ntimes = 5"), "'points.times': problem 'disk-poisson' has no time, remove it"),
        (NODES.replace("= 80", "= 80\nboundary = 5"), "'points.boundary' has no meaning with method = 'nodes'"),
        (NODES.replace("= 80", "= 80\ninitial = 5"), "'points.initial' has no meaning with method = 'nodes'"),
        (BOX + "[points]\nghost_layers = 1\n", "'points.ghost_layers' has no meaning with method = 'lhs'"),
        (NODES.replace("= 80", "= 3"), "[points]"),
        (
            NODES.replace('"disk-poisson"', '"disk-heat"').replace("= 80", "= 80\ntimes = [0.0, 2.0]"),
            "[points] times: expected them to start at 0.0 and end by 1.0",
        ),
    ],
)
def test_points_that_do_not_fit_are_named(written, text, message):
    config = load(written(text))
    with pytest.raises(UsageError) as caught:
        build_points(config, build_problem(config))
    assert message in str(caught.value)


@pytest.mark.parametrize("times", ["1", "true", "2.5", "[0.0]", '["a", "b"]'])
def test_times_that_are_none_are_named(written, times):
    text = NODES.replace("= 80", f"= 80\ntimes = {times}")
    with pytest.raises(UsageError, match=r"'points.times': .*expected a number of times, 2 or more, or a list"):
        load(written(text))


@pytest.mark.parametrize(("times", "expected"), [("3", [0.0, 0.5, 1.0]), ("[0, 0.25]", [0.0, 0.25])])
@pytest.mark.parametrize("problem", ["disk-heat", "heat"])
def test_times_are_a_number_or_a_list(written, problem, times, expected):
    text = NODES.replace("disk-poisson", problem).replace("= 80", f'= 80\nmethod = "nodes"\ntimes = {times}')
    config = load(written(text))
    assert build_points(config, build_problem(config)).times.tolist() == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("history = 5", "histroy = 5"), "[[optimizer.stages]] 1: LBFGS has no option 'histroy'; it has history"),
        (("history = 5", "history = 0"), "a whole number of pairs, at least 1, came history = 0"),
        (('"flat-lbfgs"', '"flat-bfgs"'), "unknown optimizer 'flat-bfgs'; expected 'flat-lbfgs'"),
        (('"flat-lbfgs"\nhistory = 5', '"schedule"'), "came another schedule: list its stages here"),
        (
            ("steps = 4", "steps = 4\nevaluations = 9"),
            "expected one end of the stage, one of below, steps, evaluations, stalled",
        ),
        (("steps = 4", "steps = 0"), "key 'steps': expected at least one step"),
        (("steps = 4", "evaluations = 2.5"), "key 'evaluations': expected a whole number, came 2.5"),
        (("steps = 4", "stalled = 3"), "key 'stalled': expected [steps, factor], came 3"),
        (("steps = 4", "stalled = [3, 0.5]"), "a factor above 1"),
        (("steps = 4", "below = [1e-6, 2]"), "key 'below': expected a loss, came"),
        (("steps = 4", "below = -1.0"), "a loss above 0"),
        (('name = "flat-lbfgs"\n', ""), "[[optimizer.stages]] 1: expected the name of an optimizer, one of adam"),
        (('name = "schedule"', 'name = "schedule"\nlr = 1'), "optimizer 'schedule' has no option 'lr'"),
        (('"flat-lbfgs"\nhistory = 5', '"adam"\nlr = -1'), "[[optimizer.stages]] 1: Invalid learning rate"),
    ],
)
def test_stages_that_make_no_schedule_are_named(written, change, message):
    config = load(written(NODES.replace(*change)))
    with pytest.raises(UsageError) as caught:
        build_optimizer(config)
    assert message in str(caught.value)


def test_a_schedule_needs_stages(written):
    bare = TRAINED.replace('"adam"\nlr = 1e-2', '"schedule"')
    with pytest.raises(UsageError, match=r"needs its stages, one \[\[optimizer.stages\]\] each"):
        build_optimizer(load(written(bare)))
    stalled = load(written(NODES.replace("steps = 4", "stalled = [50, 1.1]")))
    assert "Stalled(steps=50, factor=1.1)" in repr(build_optimizer(stalled))
    below = load(written(NODES.replace("steps = 4", "below = 1e-6")))
    assert "Below(loss=1e-06)" in repr(build_optimizer(below))


def test_rbf_fd_goes_by_name_with_its_options(written):
    config = load(written(NODES))
    assert build_operator(config).order == 3
    config = load(written(NODES.replace("order = 3", "order = 13")))
    with pytest.raises(UsageError, match=r"'rbf-fd': expected an order of accuracy from 1 to 12, came 13"):
        build_operator(config)
    config = load(written(NODES.replace("order = 3", "ordr = 3")))
    with pytest.raises(UsageError, match=r"'rbf-fd' has no option 'ordr'; expected 'order'"):
        build_operator(config)
