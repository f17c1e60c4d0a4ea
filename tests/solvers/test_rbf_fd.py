"""RBF-FD as an operator: matrices, nodes x times, blocks, Jacobians, kernels, and what is refused."""

import math
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import nn

from solvers.blocks import BlockGradients
from solvers.domain import Box
from solvers.geometry import Ball, scatter
from solvers.jacobian import directional, jacobian
from solvers.linearised import linearise
from solvers.networks import MLP
from solvers.objective import Objective
from solvers.operators import RBFFD, AutoDiff, FiniteDifference, TangentProp
from solvers.operators.node_set import NodeSet
from solvers.operators.sparse_product import MULTIPLIERS, SparseProduct
from solvers.points import EQUATION, Points
from solvers.problems.conditions import dirichlet, initial_value, robin
from solvers.problems.problem import Problem
from solvers.tangent_kernel import discrete_gram, tangent_kernel

ORDER = 3


def lattice(side=15):
    """Nodes of [-1, 1]^2 with boundary, one layer of ghost nodes, and normals; no corner is a node."""
    h = 2 / (side - 1)
    line = torch.linspace(-1, 1, side, dtype=torch.float64)
    inside = torch.cartesian_prod(line[1:-1], line[1:-1])
    edge, normals = [], []
    for axis in (0, 1):
        for sign in (-1.0, 1.0):
            rows = torch.full((side - 2, 2), sign, dtype=torch.float64)
            rows[:, 1 - axis] = line[1:-1]
            normal = torch.zeros_like(rows)
            normal[:, axis] = sign
            edge.append(rows)
            normals.append(normal)
    edge, normals = torch.cat(edge), torch.cat(normals)
    parts = {"left": torch.arange(side - 2), "others": torch.arange(side - 2, len(edge))}
    return Points(inside, edge, ghost=edge + h / 2 * normals, normals=normals, parts=parts, axes="xy")


def at_times(points, times):
    """The same nodes at several times, time slowest."""
    times = torch.as_tensor(times, dtype=torch.float64)

    def kind(rows):
        at = times.repeat_interleave(len(rows))[:, None]
        return torch.cat([rows.repeat(len(times), 1), at], dim=1)

    normals = torch.cat([points.normals, points.normals.new_zeros(len(points.normals), 1)], dim=1)
    start = torch.cat([points.interior, points.boundary])
    return Points(
        kind(points.interior),
        kind(points.boundary),
        torch.cat([start, times[:1].expand(len(start), 1)], dim=1),
        kind(points.ghost),
        normals.repeat(len(times), 1),
        times=times,
        axes="xyt",
    )


def cubic(x):
    """Of degree 3: reproduced by all stencils of order 3 here."""
    return x[:, :1] ** 3 - 2 * x[:, :1] * x[:, 1:2] ** 2 + 3 * x[:, 1:2] + 1


def steady(**options):
    return Problem(
        "steady",
        Box(("x", "y"), (-1.0, -1.0), (1.0, 1.0)),
        ("laplacian", ""),
        lambda jet, x, c: jet["laplacian"] - jet[""] ** 2 - x[:, :1],
        (robin(alpha=lambda x: 1 + x[:, :1] ** 2, beta=2.0),),
        **options,
    )


def evolving():
    return Problem(
        "evolving",
        Box(("x", "y", "t"), (-1.0, -1.0, 0.0), (1.0, 1.0, 1.0)),
        ("t", "laplacian"),
        lambda jet, x, c: jet["t"] - jet["laplacian"] - jet[""] ** 3,
        (dirichlet(), initial_value(lambda x: x[:, :1])),
    )


def parameters(network):
    return [p for p in network.parameters() if p.requires_grad]


def flat(tensors):
    return torch.cat([t.reshape(-1) for t in tensors])


# Matrices.


def test_a_matrix_has_rows_interior_boundary_and_columns_with_the_ghosts():
    points = lattice()
    plan = RBFFD(ORDER).plan(points, ["laplacian", "xy"])
    nodes = torch.cat([points.rows, points.ghost])
    for name, exact in (("laplacian", lambda x: 2 * x[:, :1]), ("xy", lambda x: -4 * x[:, 1:])):
        matrix = plan.matrix(name)
        assert matrix.shape == (len(points.rows), len(nodes))
        assert np.allclose(matrix @ cubic(nodes).numpy(), exact(points.rows).numpy(), atol=1e-9)
        assert torch.allclose(plan(cubic)[name], exact(points.rows), atol=1e-9)
    assert (plan.matrix("") != scipy.sparse.eye_array(*plan.matrix("").shape)).nnz == 0


def test_a_robin_matrix_with_coefficients_that_vary():
    points = lattice().only("boundary")
    plan = RBFFD(ORDER).plan(points, ["n", ""])
    x, nodes = points.boundary, torch.from_numpy(plan.nodes.nodes)
    alpha, beta = 1 + x[:, 0] ** 2, torch.exp(x[:, 1])
    got = plan.combine({"n": alpha.numpy(), "": beta.numpy()}) @ cubic(nodes).numpy()
    slope = torch.stack([3 * x[:, 0] ** 2 - 2 * x[:, 1] ** 2, 3 - 4 * x[:, 0] * x[:, 1]], dim=1)
    expected = alpha * (slope * points.normals).sum(dim=1) + beta * cubic(x)[:, 0]
    assert np.allclose(got[:, 0], expected.numpy(), atol=1e-10)
    jet = plan(cubic)
    assert torch.allclose(alpha[:, None] * jet["n"] + beta[:, None] * jet[""], expected[:, None], atol=1e-10)


def test_a_combination_with_coefficients_that_vary_is_the_sum_of_its_parts():
    points = lattice()
    plan = RBFFD(ORDER).plan(points, ["xx", "yy", "x"])
    factor = np.linspace(1, 2, len(points.rows))
    got = plan.combine({"xx": factor, "yy": 0.5, "x": -factor}).toarray()
    parts = [plan.matrix(name).toarray() for name in ("xx", "yy", "x")]
    assert np.allclose(got, factor[:, None] * (parts[0] - parts[2]) + 0.5 * parts[1], atol=1e-10)


def test_off_the_nodes_rows_interpolate():
    points = lattice()
    x = torch.tensor([[0.123, 0.456], [-0.7, 0.31]], dtype=torch.float64)
    plan = RBFFD(4).plan(Points(x, axes="xy").within(points), ["", "x"])
    nodes = torch.cat([points.rows, points.ghost])
    assert np.allclose(plan.matrix("") @ cubic(nodes).numpy(), cubic(x).numpy(), atol=1e-11)
    assert torch.allclose(plan(cubic)["x"], 3 * x[:, :1] ** 2 - 2 * x[:, 1:] ** 2, atol=1e-9)


def test_rows_next_to_nodes_are_no_nodes():
    x = torch.tensor([[1e-5, 0.0], [0.0, -1e-9]], dtype=torch.float64)
    plan = RBFFD(4).plan(Points(x, axes="xy").within(lattice()), [""])
    assert torch.allclose(plan(lambda x: x)[""], x, rtol=0, atol=1e-13)


def test_the_weights_of_a_set_are_found_once(monkeypatch):
    import solvers.operators.node_set as module

    points, calls = lattice(), []
    solve = module.stencil_weights

    def counted(nodes, targets, *rest, **options):
        calls.append(len(targets))
        return solve(nodes, targets, *rest, **options)

    monkeypatch.setattr(module, "stencil_weights", counted)
    whole = RBFFD(ORDER).plan(points, ["laplacian"]).matrix("laplacian")
    some = torch.tensor([5, 3, 70])
    part = RBFFD(ORDER).plan(points.only("interior", some), ["laplacian"]).matrix("laplacian")
    assert calls == [len(points.rows)]
    assert (whole[some.numpy()] != part).nnz == 0


def test_stencils_of_one_plan_are_those_of_its_highest_derivative():
    points = lattice()
    alone, together = (RBFFD(ORDER).plan(points, names) for names in (["x"], ["x", "xx"]))
    assert (alone.recipe.degree, together.recipe.degree) == (ORDER, ORDER + 1)
    assert alone.matrix("x").nnz < together.matrix("x").nnz


def test_without_ghost_nodes_stencils_are_one_sided():
    ghostless = Points(lattice().interior, lattice().boundary, axes="xy")
    plan = RBFFD(ORDER).plan(ghostless, ["laplacian"])
    assert plan.matrix("laplacian").shape[1] == len(ghostless.rows)
    assert torch.allclose(plan(cubic)["laplacian"], 2 * ghostless.rows[:, :1], atol=1e-9)


def test_round_off_is_the_largest_sum_of_weights():
    plan = RBFFD(ORDER).plan(lattice(), ["laplacian"])
    expected = 2.0**-52 * abs(plan.matrix("laplacian")).sum(axis=1).max()
    assert plan.roundoff == {"xx+yy": pytest.approx(expected)}
    assert RBFFD(ORDER).plan(at_times(lattice(), [0.0, 1.0]), ["t"]).roundoff == {"t": 2.0**-52}


def test_float32_warns_of_its_noise_and_the_noise_is_as_predicted():
    points = lattice(41).to(dtype=torch.float32)
    with pytest.warns(RuntimeWarning, match=r"rounding u changes 'xx\+yy' by up to .* use dtype=torch") as told:
        plan = RBFFD(ORDER).plan(points, ["laplacian"])
    assert [warning.filename for warning in told] == [__file__]

    def smooth(x):
        return torch.sin(2 * x[:, :1]) * torch.cos(x[:, 1:])

    exact = RBFFD(ORDER).plan(lattice(41), ["laplacian"])(smooth)["laplacian"]
    error = float((plan(smooth)["laplacian"].double() - exact).abs().max())
    assert plan.roundoff["xx+yy"] / 100 < error < plan.roundoff["xx+yy"]


def test_weights_are_kept_between_processes(tmp_path):
    first = RBFFD(ORDER, cache=tmp_path).plan(lattice(), ["laplacian"]).matrix("laplacian")
    stored = list(Path(tmp_path).iterdir())
    assert len(stored) == 1
    again = RBFFD(ORDER, cache=tmp_path).plan(lattice(), ["laplacian"]).matrix("laplacian")
    assert (first != again).nnz == 0
    stored[0].write_bytes(stored[0].read_bytes()[:-100])
    with pytest.warns(UserWarning, match="unusable and will be rebuilt"):
        rebuilt = RBFFD(ORDER, cache=tmp_path).plan(lattice(), ["laplacian"]).matrix("laplacian")
    assert (first != rebuilt).nnz == 0


# Space and time.


def test_nodes_times_times_take_space_from_matrices_and_time_from_the_inner_operator():
    points = at_times(lattice(), [0.0, 0.3, 1.0])

    def moving(x):
        return cubic(x) * torch.sin(x[:, 2:] + 1)

    for where in (EQUATION, "boundary", "initial"):
        own = points.only(where)
        jet = RBFFD(ORDER).plan(own, ["t", "laplacian", "xxt", "x+tt"])(moving)
        x, t = own.rows, own.rows[:, 2:]
        assert torch.allclose(jet[""], moving(x), atol=1e-14)
        assert torch.allclose(jet["t"], cubic(x) * torch.cos(t + 1), atol=1e-13)
        assert torch.allclose(jet["laplacian"], 2 * x[:, :1] * torch.sin(t + 1), atol=1e-8)
        assert torch.allclose(jet["xxt"], 6 * x[:, :1] * torch.cos(t + 1), atol=1e-8)
        slope = 3 * x[:, :1] ** 2 - 2 * x[:, 1:2] ** 2
        assert torch.allclose(jet["x+tt"], slope * torch.sin(t + 1) - moving(x), atol=1e-9)


@pytest.mark.parametrize("rows", ["shuffled", "scattered"])
def test_rows_in_any_order_and_at_any_time(rows):
    points = at_times(lattice(), [0.0, 0.3, 1.0])
    generator = torch.Generator().manual_seed(0)
    if rows == "shuffled":
        own = points.only(EQUATION, torch.randperm(500, generator=generator))
    else:
        drawn = torch.rand(40, 3, generator=generator, dtype=torch.float64)
        own = Points(drawn, axes="xyt").within(points)

    def moving(x):
        return cubic(x) * torch.sin(x[:, 2:] + 1)

    plan = RBFFD(ORDER).plan(own, ["t", "laplacian"])
    jet, x = plan(moving), own.rows
    # All nodes at each of 40 times would be evaluated for nothing.
    assert plan.width == (40 * plan.recipe.size if rows == "scattered" else 3 * len(plan.nodes.nodes))
    assert torch.allclose(jet[""], moving(x), atol=1e-9)
    assert torch.allclose(jet["t"], cubic(x) * torch.cos(x[:, 2:] + 1), atol=1e-9)
    assert torch.allclose(jet["laplacian"], 2 * x[:, :1] * torch.sin(x[:, 2:] + 1), atol=1e-8)
    network = MLP(3, [5]).double()
    residual = partial(heat_residual, x)
    check_jacobian(plan, network, residual)


def heat_residual(x, jet):
    return jet["t"] - x[:, :1] * jet["laplacian"] - jet[""] ** 3


def test_the_equation_is_asked_for_at_the_boundary_where_there_are_ghosts():
    points = lattice()
    assert len(points.only(EQUATION).interior) == len(points.interior) + len(points.boundary)
    ghostless = Points(points.interior, points.boundary, axes="xy")
    assert len(ghostless.only(EQUATION).interior) == len(points.interior)
    timed = at_times(points, [0.0, 1.0]).only(EQUATION).interior
    assert torch.equal(timed[: len(timed) // 2, :2], points.rows)
    assert (timed[: len(timed) // 2, 2] == 0).all() and (timed[len(timed) // 2 :, 2] == 1).all()


# Derivatives in the parameters.


def check_jacobian(plan, network, residual):
    own = parameters(network)
    got = jacobian(plan, network, residual, own)
    values = residual(plan.with_inner(AutoDiff().plan(plan.inner.points, plan.inner.singles))(network))
    rows = [flat(torch.autograd.grad(v, own, retain_graph=True, materialize_grads=True)) for v in values.reshape(-1)]
    scale = float(got.abs().max())
    assert torch.allclose(got, torch.stack(rows), atol=1e-9 * scale)
    direction = [torch.randn_like(p) for p in own]
    moved = directional(plan, network, residual, own, direction)
    assert torch.allclose(moved, got @ flat(direction), atol=1e-8 * scale)


@pytest.mark.parametrize("inner", [TangentProp(), AutoDiff()], ids=["taylor", "nested"])
def test_jacobian_rows_equal_one_backward_pass_each(inner):
    points = lattice(11)
    plan = RBFFD(ORDER, time=inner).plan(points.only(EQUATION, torch.arange(0, 100, 7)), ["laplacian"])
    check_jacobian(plan, MLP(2, [6, 5]).double(), lambda jet: jet["laplacian"] - torch.exp(jet[""]))


def test_jacobian_of_several_equations_and_components():
    plan = RBFFD(ORDER).plan(lattice(11).only("interior", torch.arange(6)), ["x", "yy"])

    def residual(jet):
        u, v = jet["x"][:, :1], jet["yy"][:, 1:]
        return torch.cat([u * jet[""][:, 1:], u + v, v**2], dim=1)

    check_jacobian(plan, MLP(2, [6], 2).double(), residual)


def test_linearise_gives_up_where_rows_are_pairs():
    plan = RBFFD(ORDER).plan(lattice(11).only("interior", torch.arange(6)), ["x"])
    network = MLP(2, [4]).double()

    def pairs(jet):
        lower, upper = jet["x"].chunk(2)
        return upper - lower

    assert linearise(plan, plan(network), pairs) is None
    got = jacobian(plan, network, pairs, parameters(network))
    rows = [flat(torch.autograd.grad(v, parameters(network), retain_graph=True)) for v in pairs(plan(network))[:, 0]]
    assert torch.allclose(got, torch.stack(rows), atol=1e-12)


def test_the_kernel_is_the_jacobians_product():
    network, points = MLP(2, [9, 7]).double(), lattice(9)
    plan = TangentProp().plan(points, [""])
    rows = jacobian(plan, network, lambda jet: jet[""], parameters(network))
    assert torch.allclose(tangent_kernel(plan, network, parameters(network)), rows @ rows.T, rtol=1e-12, atol=1e-12)


def test_the_kernel_leaves_out_what_is_frozen():
    network, points = MLP(2, [9, 7]).double(), lattice(9)
    linears = [module for module in network.modules() if isinstance(module, nn.Linear)]
    linears[0].weight.requires_grad_(False)
    linears[1].bias.requires_grad_(False)
    plan = TangentProp().plan(points, [""])
    rows = jacobian(plan, network, lambda jet: jet[""], parameters(network))
    assert torch.allclose(tangent_kernel(plan, network, parameters(network)), rows @ rows.T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "network",
    [MLP(2, [4], 2).double(), nn.utils.parametrizations.weight_norm(nn.Linear(2, 1).double())],
    ids=["two components", "weight normalisation"],
)
def test_the_kernel_gives_up_where_it_would_need_the_jacobian(network):
    plan = TangentProp().plan(lattice(9), [""])
    assert tangent_kernel(plan, network, parameters(network)) is None


def test_a_weight_that_is_used_twice_has_no_kernel_of_its_own():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.same, self.last = nn.Linear(2, 4), nn.Linear(4, 4), nn.Linear(4, 1)

        def forward(self, x):
            return self.last(torch.tanh(self.same(torch.tanh(self.same(self.first(x))))))

    network = Twice().double()
    assert tangent_kernel(TangentProp().plan(lattice(9), [""]), network, parameters(network)) is None


def test_the_gram_matrix_of_a_loss_on_nodes():
    torch.manual_seed(0)
    objective = Objective(steady(), MLP(2, [8, 8]).double(), RBFFD(ORDER), lattice(11))
    evaluation = objective(objective.vector)
    terms = [(plan, partial(_at, scaled)) for plan, scaled in evaluation.scaled_terms()]
    known = discrete_gram(terms, objective.network, objective.parameters.parameters)
    rows = evaluation.jacobian
    expected = rows @ rows.T
    scale = float(expected.abs().max())
    assert known is not None
    assert torch.allclose(evaluation.gram, known, rtol=0, atol=0)
    assert torch.allclose(known, expected, atol=1e-9 * scale)
    vector = torch.randn(len(rows), dtype=torch.float64)
    assert torch.allclose(evaluation.transposed(vector), rows.T @ vector, atol=1e-9 * float(rows.abs().max()))


def _at(scaled, jet):
    return scaled(jet, {})


@pytest.mark.parametrize("operator", [RBFFD(ORDER), AutoDiff(), TangentProp(), FiniteDifference()], ids=repr)
def test_the_transposed_jacobian_belongs_to_the_scaled_residual(operator):
    torch.manual_seed(1)
    objective = Objective(steady(), MLP(2, [6]).double(), operator, lattice(9))
    objective.attention = torch.linspace(0.5, 2.0, len(objective.equation_points.interior), dtype=torch.float64)
    evaluation = objective(objective.vector)
    residual, rows = evaluation.scaled_residual, evaluation.jacobian
    assert float(residual.square().sum()) == pytest.approx(float(evaluation.value.detach()), rel=1e-12)
    assert torch.allclose(evaluation.transposed(residual), evaluation.gradient / 2, rtol=1e-6, atol=1e-9)
    assert torch.allclose(evaluation.transposed(residual), rows.T @ residual, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("inner", [TangentProp(), AutoDiff()], ids=["taylor", "nested"])
def test_an_evolving_loss_has_the_gradient_of_its_value(inner):
    torch.manual_seed(2)
    points = at_times(lattice(9), [0.0, 0.5, 1.0])
    objective = Objective(evolving(), MLP(3, [6, 6]).double(), RBFFD(ORDER, time=inner), points)
    start = objective.vector.clone()
    gradient = objective(objective.vector).gradient.clone()
    direction = torch.randn_like(start)

    def along(t):
        return float(objective(start + t * direction).value.detach())

    h = 1e-4
    numerical = (8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12 * h)
    assert float(gradient @ direction) == pytest.approx(numerical, rel=1e-7)


def test_the_residual_tends_to_that_of_exact_derivatives():
    torch.manual_seed(3)
    network = MLP(2, [8, 8]).double()
    gaps = []
    for side in (11, 21):
        points = lattice(side)
        ours, exact = (Objective(steady(), network, op, points) for op in (RBFFD(4), TangentProp()))
        gaps.append(float((ours(ours.vector).residual - exact(exact.vector).residual).detach().abs().max()))
    assert gaps[0] / gaps[1] > 2**3.7


def test_all_terms_of_a_loss_share_one_product_and_one_evaluation_of_the_network(monkeypatch):
    points, calls = lattice(9), []
    network = MLP(2, [8]).double()
    objective = Objective(steady(), network, RBFFD(ORDER, time=AutoDiff()), points)
    multiply = SparseProduct.multiply
    monkeypatch.setattr(
        SparseProduct,
        "multiply",
        lambda self, values, transposed: calls.append((self.shape, transposed)) or multiply(self, values, transposed),
    )
    network.register_forward_hook(lambda *_: calls.append("network"))
    objective.vector.add_(0.0)
    evaluation = objective(objective.vector)
    gradient = evaluation.gradient
    rows = 2 * len(points.boundary) + len(points.rows)
    shape = rows, len(points.rows) + len(points.ghost)
    assert calls == ["network", (shape, False), (shape, True)]
    plans = [objective.plan, *(term.plan for term in objective.conditions)]
    for plan, residual in zip(plans, [evaluation.residual, *evaluation.condition_residuals], strict=True):
        own = objective.equation if plan is objective.plan else lambda _, jet: objective.conditions[0].residual(jet, {})
        assert torch.allclose(own(plan, plan(network)), residual, rtol=1e-13, atol=1e-12)
    other = Objective(steady(), network, RBFFD(ORDER), points)
    assert torch.allclose(gradient, other(other.vector).gradient, rtol=1e-11, atol=1e-11)


def test_block_gradients_equal_a_backward_pass_a_block():
    torch.manual_seed(4)
    objective = Objective(steady(), MLP(2, [8, 8]).double(), RBFFD(ORDER), lattice(9))
    blocks = BlockGradients(objective, 4, suffix="")
    got = blocks.interior()
    parts = blocks.order.reshape(4, -1)
    for row, index in zip(got, parts, strict=True):
        residual = objective.equation(objective.plan, objective.plan(objective.network))[index]
        loss = residual.square().sum() / len(index)
        expected = flat(torch.autograd.grad(loss, objective.parameters.parameters))
        assert torch.allclose(row, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))
    (condition,) = blocks.condition_blocks()
    assert torch.allclose(condition.mean(dim=0), blocks.condition_gradients()[0], rtol=1e-9, atol=1e-9)


# The product.


def random_matrix():
    generator = np.random.default_rng(0)
    return scipy.sparse.random_array((30, 20), density=0.2, rng=generator, format="coo")


def test_a_product_has_the_derivatives_of_a_dense_one():
    matrix = random_matrix()
    dense, values = torch.from_numpy(matrix.toarray()), torch.randn(20, 3, dtype=torch.float64, requires_grad=True)
    product = SparseProduct(matrix, values)
    assert torch.allclose(product(values), dense @ values)
    assert torch.autograd.gradcheck(lambda x: product(x), values)
    assert torch.autograd.gradgradcheck(lambda x: product(x) ** 2, values)
    tangent = torch.randn_like(values)
    assert torch.allclose(torch.func.jvp(product, (values.detach(),), (tangent,))[1], dense @ tangent)
    batch = torch.randn(5, 20, 3, dtype=torch.float64)
    assert torch.allclose(torch.func.vmap(product)(batch), dense @ batch)
    assert torch.allclose(torch.func.vmap(product, in_dims=1)(batch.movedim(0, 1)), dense @ batch)


def test_a_product_keeps_thirty_two_bit_indices_and_the_precision_asked_for():
    product = SparseProduct(random_matrix(), torch.zeros(1, dtype=torch.float32))
    for matrix in (product.matrix, product.transpose):
        assert matrix.indices.dtype == matrix.indptr.dtype == np.int32
        assert matrix.data.dtype == np.float32
    assert product(torch.ones(20, 1)).dtype == torch.float32


def test_a_product_leaves_the_matrix_as_it_was():
    matrix = scipy.sparse.csr_array(
        (np.arange(1.0, 5.0), np.array([3, 1, 2, 0], dtype=np.int64), [0, 2, 4]), shape=(2, 4)
    )
    before = matrix.copy()
    product = SparseProduct(matrix, torch.zeros(1, dtype=torch.float64))
    assert np.array_equal(matrix.indices, before.indices)
    assert np.array_equal(product.transpose.toarray(), before.toarray().T)


@pytest.mark.cuda
@pytest.mark.parametrize("backend", ["auto", "torch", "cupy"])
def test_on_a_device_the_product_is_that_of_the_cpu(cuda, backend):
    if backend == "cupy":
        pytest.importorskip("cupy", reason="cupy is not installed")
    values = torch.randn(20, 3, dtype=torch.float64)
    here = SparseProduct(random_matrix(), values)(values)
    there = values.to(cuda).requires_grad_(True)
    product = SparseProduct(random_matrix(), there, backend)
    result = product(there)
    assert torch.allclose(result.cpu(), here)
    (gradient,) = torch.autograd.grad(result.sum(), there)
    assert torch.allclose(gradient.cpu(), torch.from_numpy(random_matrix().T @ np.ones((30, 3))))


def test_the_product_of_torch_is_that_of_scipy():
    values, back = torch.randn(20, 3, dtype=torch.float64), torch.randn(30, 2, dtype=torch.float64)
    product = SparseProduct(random_matrix(), values)
    multiply = MULTIPLIERS["torch"](product.matrix, product.transpose, values)
    assert torch.allclose(multiply(values, False), product.multiply(values, False))
    assert torch.allclose(multiply(back, True), product.multiply(back, True))


def test_the_cpu_has_no_cupy():
    with pytest.raises(ValueError, match="backend 'cupy' does not serve cpu; expected scipy"):
        SparseProduct(random_matrix(), torch.zeros(1), "cupy")
    with pytest.raises(ValueError, match="expected a backend of auto, scipy, cupy, torch, came 'mkl'"):
        SparseProduct(random_matrix(), torch.zeros(1), "mkl")


def test_no_part_of_a_sphere_has_worse_stencils_than_the_rest():
    points = scatter(Ball(), count=8000).points()
    plan = RBFFD(4).plan(points.only("boundary"), ["n"])

    def wave(x):
        return torch.sin(math.pi * x[:, :1]) * torch.cos(math.pi * x[:, 1:2]) * torch.cos(math.pi * x[:, 2:])

    slope = AutoDiff().plan(points.only("boundary"), ["n"])(wave)["n"]
    error = (plan(wave)["n"] - slope).detach().abs()
    # 2.4 where lattice planes may lie parallel to the surface, 1.9 where the rows below it are out of order.
    assert float(error.square().mean().sqrt() / error.median()) < 2.1


# The authors' own matrices.


def authors(order):
    shared = os.environ.get("PINNSCOPE_SHARED")
    if shared is None:
        pytest.skip("PINNSCOPE_SHARED is not set: the authors' matrices are not at hand")
    data = np.load(Path(shared) / "reference" / "rbf_fd_disk" / f"authors_p{order}_n582.npz")
    normals = data["n"] / np.linalg.norm(data["n"], axis=1, keepdims=True)
    points = Points(data["Xi"], data["Xb"], ghost=data["Xg"], normals=normals, axes="xy")

    def matrix(name):
        return scipy.sparse.csr_array(
            (data[f"{name}_data"], data[f"{name}_indices"], data[f"{name}_indptr"]), shape=data[f"{name}_shape"]
        )

    return points, matrix("L1"), matrix("B1"), data["cen"].ravel() - 1


@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_centred_rows_are_those_of_the_papers_authors(order):
    points, laplacian, boundary, centred = authors(order)
    ours = RBFFD(order).plan(points, ["laplacian"]).matrix("laplacian")[centred]
    theirs = laplacian[centred]
    scale = abs(theirs).max(axis=1).toarray().ravel()
    assert (abs(ours - theirs).max(axis=1).toarray().ravel() / scale).max() < 1e-8
    plan = RBFFD(order).plan(points.only("boundary"), ["n", ""])
    difference = abs(plan.combine({"n": 1.0, "": 1.0}) - boundary).max(axis=1).toarray().ravel()
    assert (difference / abs(boundary).max(axis=1).toarray().ravel()).max() < 1e-8


# Bad input.


@pytest.mark.parametrize("order", [0, 13, 2.0, True])
def test_orders_out_of_range_are_refused(order):
    with pytest.raises(ValueError, match="expected an order of accuracy from 1 to 12"):
        RBFFD(order)


def test_time_needs_an_exact_operator():
    with pytest.raises(ValueError, match="expected an exact operator for the time"):
        RBFFD(time=FiniteDifference())


def test_an_unknown_backend_is_refused_at_once():
    with pytest.raises(ValueError, match="expected a backend of auto, scipy, cupy, torch, came 'numpy'"):
        RBFFD(backend="numpy")


def test_points_scattered_in_time_are_refused():
    points = Points(torch.rand(200, 3, dtype=torch.float64), axes="xyt")
    with pytest.raises(ValueError, match=r"points that are nodes x times, .*problem.sample\(times=...\)"):
        RBFFD(2).plan(points, ["xx"])


def test_nodes_that_move_in_time_are_refused():
    points = at_times(lattice(), [0.0, 1.0])
    moved = points.interior.clone()
    moved[3, 0] += 1e-3
    broken = Points(moved, points.boundary, ghost=points.ghost, times=points.times, axes="xyt")
    with pytest.raises(ValueError, match="expected the interior points to be the same nodes at each of the 2 times"):
        RBFFD(2).plan(broken, ["xx"])


def test_a_stencil_larger_than_the_set_says_which_order_fits():
    with pytest.raises(
        ValueError, match=r"a stencil of 73 nodes is larger than the set of 65 nodes: .*order that fits"
    ):
        RBFFD(6).plan(lattice(7), ["laplacian"])


def test_coincident_nodes_are_named():
    points = lattice()
    twice = Points(torch.cat([points.interior, points.interior[7:8]]), points.boundary, axes="xy")
    with pytest.raises(ValueError, match=r"interior node 7 and interior node [0-9]+ coincide at .*remove one"):
        RBFFD(2).plan(twice, ["laplacian"])


def test_rows_far_outside_of_the_nodes_are_refused_with_their_distance():
    points = lattice()
    with pytest.raises(
        ValueError, match=r"target 1 at \(5, 5\) is singular.* nearest node is 5.71 away: evaluate amid"
    ):
        RBFFD(5).plan(Points([[0.0, 0.1], [5.0, 5.0]], axes="xy").within(points), ["laplacian"])


def test_nodes_on_a_line_are_singular_and_named():
    line = torch.stack([torch.linspace(0, 1, 60), torch.linspace(0, 1, 60)], dim=1).double()
    with pytest.raises(ValueError, match="interior node 0"):
        RBFFD(2).plan(Points(line, axes="xy"), ["laplacian"])


def test_normals_that_are_not_unit_vectors_are_refused():
    points = lattice()
    normals = points.normals.clone()
    normals[4] *= 0.67
    with pytest.raises(ValueError, match=r"expected unit normals, came 1 .* such as 0\.67 at boundary point 4"):
        Points(points.interior, points.boundary, normals=normals, axes="xy")


def test_partials_that_no_matrix_gives_are_refused():
    points = at_times(lattice(), [0.0, 1.0])
    plan = RBFFD(ORDER).plan(points.only(EQUATION), ["t", "xx"])
    with pytest.raises(KeyError, match="'t' has a derivative in t, which no matrix"):
        plan.matrix("t")
    with pytest.raises(KeyError, match="partial 'yy' was not planned; expected one of"):
        plan.matrix("yy")
    with pytest.raises(KeyError, match="'n' exists on boundary rows with normals only"):
        plan.matrix("n")
    with pytest.raises(ValueError, match="'xx': expected one coefficient, or"):
        plan.combine({"xx": np.ones(3)})


def test_too_few_nodes_for_any_set():
    with pytest.raises(ValueError, match="expected nodes for the stencils, came 1"):
        RBFFD(1).plan(Points([[0.0]]), ["x"])


def test_nodes_of_other_axes_are_refused():
    with pytest.raises(ValueError, match="expected nodes with the axes x, y, came x"):
        lattice().within(Points([[0.0], [1.0]]))


def test_one_set_is_shared_by_its_parts_and_forgotten_with_them():
    points = lattice(7)
    first = NodeSet.of(points.only("interior"))
    assert first is NodeSet.of(points) is NodeSet.of(points.only("boundary"))
    assert first is not NodeSet.of(lattice(7))
