"""Oscillation or progress: what happens on a copy of the training when its learning rate is cut."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from dynamics.ratios import snr_from_norms
from solvers.blocks import BlockGradients, counts
from solvers.branch import Branch
from solvers.cadence import Cadence, Logarithmic
from solvers.optimizers.moments import has_moments, moments
from solvers.optimizers.stability import stability_limit
from solvers.probes.gradients import gradient_statistics
from solvers.probes.probe import Labels, Moment, Probe, once
from solvers.sharpness import sharpness


def lr_cut(steps: int = 50, factor: float = 0.1, blocks: int = 8, every: Cadence = Logarithmic(3, spacing=50)) -> Probe:
    r"""Return the probe that cuts the learning rate on a copy of the training.

    From the same parameters and optimizer state, with the attention frozen and no scheduler, the copy takes `steps`
    steps at `factor` times the rate, and as many at the rate itself. Recorded before and after: the gradient SNR over
    blocks, the norm of the mean gradient, the loss; and at the start the sharpness, plain and in Adam's metric, with
    the value above which the optimizer oscillates:

    $$ \lambda_1(H), \qquad \lambda_1(P^{-1/2} H P^{-1/2}), \; P = \mathrm{diag}(\sqrt{\hat v} + \varepsilon) $$

    Where the high SNR is an oscillation across a valley, a smaller step ends it: the mean gradient falls, and the loss
    with it. Where it is descent, a smaller step only descends more slowly. `dynamics.lr_cut.oscillation` decides.

    The copy is in float64 whatever the training's precision (`solvers.branch`). The training goes on bit for bit as it
    would have without the probe.

    Args:
        steps: of each branch. Momentum sets the least: with beta1 = 0.9 an oscillation falls no faster than
            0.9^(steps / 2), 14-fold in 50 steps and only 5-fold in 30, which tells nothing.
        factor: of the rate, in (0, 1).
        blocks: of the SNR.
        every: when.

    Returns:
        Probe of the stream "lr_cut". Declaring or measuring it raises a ValueError where the optimizer is no
        torch optimizer of one evaluation a step.

    Raises:
        ValueError: steps below 1 or a factor outside (0, 1).

    Source: ours; the collapse of the SNR after a cut was seen in the logs of arXiv 2403.18494. Sharpness and limit:
        J. M. Cohen et al., arXiv 2207.14484.

    Cost: 2 `steps` steps, 3 block gradients and some 30 Hessian products of two gradients each: a
        measurement takes the time of 160 steps of a training in float64, 260 of one in float32.

    Example:
        >>> lr_cut(steps=20).stream
        'lr_cut'
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1 or not 0 < factor < 1:
        raise ValueError(f"expected at least 1 step and a factor in (0, 1), came steps={steps!r}, factor={factor!r}")
    of = once(lambda moment: Trial(moment, blocks))

    def labels(moment: Moment) -> Labels:
        trial = of(moment)
        own = {"steps": steps, "factor": factor, "optimizer": repr(moment.optimizer), "arithmetic": "float64"}
        return Labels(attrs={**own, **trial.attrs})

    def measure(moment: Moment) -> dict[str, float]:
        return of(moment).measure(moment, steps, factor)

    names = ("rate", "snr_before", "snr_after", "snr_uncut", "mean_norm_before", "mean_norm_after")
    names += ("loss_before", "loss_after", "loss_uncut", "sharpness", "preconditioned_sharpness", "stability_limit")
    return Probe("lr_cut", dict.fromkeys(names, ()), measure, every, labels)


class Trial:
    """The branch of one training and the blocks of its gradients.

    Args:
        moment: the first one.
        blocks: of the SNR.
    """

    def __init__(self, moment: Moment, blocks: int):
        self.branch = Branch(moment.objective, moment.optimizer)
        names = moment.objective.parameters.names
        suffix = "weight" if any(counts(name, "weight") for name in names) else ""
        self.blocks = BlockGradients(self.branch.objective, blocks, suffix)
        self.attrs = {
            "blocks": blocks,
            "block_size": self.blocks.block_size,
            "points": len(moment.objective.equation_points.interior),
            "parameters": f"names ending in {suffix!r}",
            "momentum": _momentum(moment),
        }

    def measure(self, moment: Moment, steps: int, factor: float) -> dict[str, float]:
        """Return a row of the stream.

        Args:
            moment: where the training is.
            steps: of each branch.
            factor: of the rate.

        Returns:
            Variable -> number.
        """
        branch = self.branch
        branch.start_from(moment.objective, moment.state)
        row = {"rate": float(moment.state.optimizer.param_groups[0]["lr"])}
        row |= self._reading("before")
        row |= self._curvature(moment)
        branch.advance(steps, factor)
        row |= self._reading("after")
        branch.advance(steps)
        row |= self._reading("uncut")
        row.pop("mean_norm_uncut")
        return row

    def _reading(self, when: str) -> dict[str, float]:
        """Return SNR, mean norm and loss where the branch is."""
        with self.branch.unheard():
            own, common = (gradient.double().cpu().numpy() for gradient in self.blocks())
        found = gradient_statistics(own, common, self.blocks.sizes, gram=False)
        mean, deviation = found["mean_norm_total"], found["std_norm_total"]
        known = np.isfinite(mean) and np.isfinite(deviation)
        ratio = float(snr_from_norms(mean, deviation)) if known else float("nan")
        return {f"snr_{when}": ratio, f"mean_norm_{when}": mean, f"loss_{when}": self.branch.loss()}

    def _curvature(self, moment: Moment) -> dict[str, float]:
        branch, scale = self.branch, self._metric(moment)
        plain = sharpness(branch.gradient, branch.start)
        found = {"sharpness": plain.value, "preconditioned_sharpness": float("nan")}
        if scale is not None:
            found["preconditioned_sharpness"] = sharpness(branch.gradient, branch.start, scale).value
        return {**found, "stability_limit": stability_limit(moment.optimizer, moment.state)}

    @staticmethod
    def _metric(moment: Moment) -> Tensor | None:
        """Return the diagonal of P, None where there is none or it vanishes somewhere."""
        found = moments(moment.state) if has_moments(moment.optimizer) else None
        scale = None if found is None else found.rms + found.eps
        return scale if scale is not None and bool((scale > 0).all()) else None


def _momentum(moment: Moment) -> float:
    """Return the factor by which the optimizer keeps its last direction, 0 where it keeps none."""
    group = moment.state.optimizer.param_groups[0]
    return float(group["betas"][0] if "betas" in group else group.get("momentum", 0.0))
