"""The probes of a recorded run that says nothing else."""

from __future__ import annotations

from solvers.blocks import counts
from solvers.cadence import Cadence, Logarithmic
from solvers.hidden_layers import HiddenLayers
from solvers.objective import Objective
from solvers.optimizers import Optimizer
from solvers.optimizers.moments import has_moments
from solvers.probes.adam import adam_moments
from solvers.probes.compression import compression
from solvers.probes.errors import errors, exact_loss
from solvers.probes.gradients import block_gradients
from solvers.probes.held_out import held_out
from solvers.probes.parameters import parameters
from solvers.probes.probe import Probe
from solvers.probes.reference import reference_residual
from solvers.probes.residuals import homogeneity, residuals

CLOSED_FORM = 1e-10
"""Floor of a solution that is cheap and smooth enough to be differenced; one computed on a grid is neither."""

SPARSER = Logarithmic(15)
"""Of gradients on stencils: a block reaches nearly all nodes and costs a backward pass, elsewhere a share of one."""


def standard_probes(
    objective: Objective, blocks: int = 8, optimizer: Optimizer | None = None, every: Cadence | None = None
) -> tuple[Probe, ...]:
    """Return the probes of a recorded run: what every analyzer here needs, at cadences that keep the cost low.

    Below 10 % of 2,000 steps of Adam under automatic differentiation; more of shorter runs and of cheaper steps.

    Args:
        objective: decides which probes make sense.
        blocks: of the gradient statistics; fewer where there are fewer points; all parameters are counted where none is
            named a weight.
        optimizer: whose moments are recorded where it keeps those of Adam.
        every: cadence of all of them; None leaves each its own, even in log time.

    Returns:
        Gradients, homogeneity, residuals, held-out loss, parameters; compression where hidden layers are found, Adam's
        moments, errors where a solution is known, its residual where it is in closed form, the exact loss where the
        operator is not exact.
    """
    cadence = {} if every is None else {"every": every}
    chosen = [homogeneity(**cadence), residuals(**cadence), held_out(**cadence), parameters(**cadence)]
    blocks = min(blocks, len(objective.equation_points.interior))
    if blocks >= 2:
        weights = any(counts(name, "weight") for name in objective.parameters.names)
        gradients = {"every": SPARSER} if objective.stack is not None and every is None else cadence
        chosen.append(block_gradients(blocks, "weight" if weights else "", **gradients))
    if _has_hidden_layers(objective):
        chosen.append(compression(**cadence))
    if has_moments(optimizer):
        chosen.append(adam_moments(**cadence))
    if objective.problem.solution is not None:
        chosen.append(errors(**cadence))
        trained = not objective.problem.coefficients and objective.problem.observed is None
        if trained and objective.problem.solution_floor <= CLOSED_FORM:
            chosen.append(reference_residual())
    if not objective.operator.exact:
        chosen.append(exact_loss(**cadence))
    return tuple(chosen)


def _has_hidden_layers(objective: Objective) -> bool:
    try:
        HiddenLayers(objective.network)(objective.points.interior[:2], lambda layer: layer.name)
    except ValueError:
        return False
    return True
