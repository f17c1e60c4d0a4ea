"""The file format in one place: streams, variables, dimensions, units and version of a trajectory.

`data/README.md` draws the same thing as a tree. The recorder creates what stands here, `validate` checks against it,
and the analyzers look their variables up in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

FORMAT = "pinnscope-trajectory"
FORMAT_VERSION = (1, 5)
STATUSES = ("running", "complete", "interrupted", "diverged", "failed")

ROOT_ATTRIBUTES = (
    "format",
    "format_version",
    "created",
    "versions",
    "config",
    "seed",
    "dtype",
    "device",
    "host",
    "git_commit",
)


@dataclass(frozen=True)
class Variable:
    """One quantity of a stream: its name, its dimensions beside the stream's index, unit and meaning.

    Args:
        name: the dataset's name in the stream's group.
        dims: names of the dimensions that follow the index, `()` for a scalar per row.
        long_name: what the quantity is, as an axis label would say it.
        units: the unit, "1" for a pure number.
        dtype: the stored type; recorded scalars are always float64, so that an absent value can be NaN.

    Example:
        >>> Variable("loss_raw", ("term",), "unweighted loss of each term").dims
        ('term',)
    """

    name: str
    dims: tuple[str, ...] = ()
    long_name: str = ""
    units: str = "1"
    dtype: str = "f8"


@dataclass(frozen=True)
class Stream:
    """A group of the file whose rows are appended together: one cadence, one index, one commit counter.

    Args:
        name: the group's name.
        variables: what each row holds; variables of `KNOWN[name]` need not be repeated.
        coords: labels of the dimensions (a sequence of str or numbers), or a size (an int) where labels mean nothing.
        attrs: attributes of the group, such as the number of blocks behind gradient statistics.
        index: name of the dimension that grows; "step", or "evaluation" where a step has several rows.

    Example:
        >>> Stream("gradients", coords={"layer": ["0.weight", "2.weight"]}).index
        'step'
    """

    name: str
    variables: Sequence[Variable] = ()
    coords: Mapping[str, Sequence | int] = field(default_factory=dict)
    attrs: Mapping[str, object] = field(default_factory=dict)
    index: str = "step"


def _known(*variables: Variable) -> Mapping[str, Variable]:
    return MappingProxyType({variable.name: variable for variable in variables})


KNOWN: Mapping[str, Mapping[str, Variable]] = MappingProxyType(
    {
        "series": _known(
            Variable("loss", (), "weighted loss"),
            Variable("loss_raw", ("term",), "unweighted loss of each term"),
            Variable("loss_weight", ("term",), "effective weight of each term: loss = sum of weight * raw"),
            Variable("learning_rate", (), "learning rate"),
            Variable("step_length", (), "factor of the search direction that a line search took"),
            Variable("damping", (), "damping of a Levenberg-Marquardt step"),
            Variable("gradient_norm", (), "2-norm of the loss gradient"),
            Variable("update_norm", (), "2-norm of the parameter update"),
            Variable("parameter_norm", (), "2-norm of the parameters"),
            Variable("rel_l2", (), "relative L2 error against the problem's solution"),
            Variable("max_error", (), "largest error against the problem's solution"),
            Variable("error_band", ("band",), "relative L2 error in 0-4, in 5-12 and in more waves across the box"),
            Variable("exact_loss", (), "unweighted interior loss with exact derivatives"),
            Variable("held_out_loss", (), "unweighted interior loss at fixed points that are not trained on"),
            Variable("field_mean", (), "mean of the network's output over the interior points"),
            Variable("field_std", (), "standard deviation of the network's output over the interior points"),
            Variable("evaluations", (), "loss evaluations so far"),
        ),
        "evaluations": _known(
            Variable("step", (), "optimizer step that the evaluation belongs to", dtype="i8"),
            Variable("loss", (), "weighted loss"),
            Variable("gradient_norm", (), "2-norm of the loss gradient"),
            Variable("step_length", (), "2-norm of the distance from the step's starting point"),
        ),
        "coefficients": _known(Variable("value", ("coefficient",), "unknown coefficients of the problem")),
        "gradients": _known(
            Variable("mean_norm", ("layer",), "2-norm of the mean block gradient"),
            Variable("std_norm", ("layer",), "2-norm of the standard deviation over blocks"),
            Variable("rms_norm", ("layer",), "2-norm of the root mean square over blocks"),
            Variable("mean_norm_total", (), "2-norm of the mean block gradient, all layers"),
            Variable("std_norm_total", (), "2-norm of the standard deviation over blocks, all layers"),
            Variable("rms_norm_total", (), "2-norm of the root mean square over blocks, all layers"),
            Variable("interior_mean_norm", ("layer",), "2-norm of the mean block gradient of the interior term alone"),
            Variable(
                "interior_mean_norm_total",
                (),
                "2-norm of the mean block gradient of the interior term alone, all layers",
            ),
            Variable("term_mean_norm", ("term",), "2-norm of each weighted loss term's gradient"),
            Variable(
                "term_std_norm", ("term",), "2-norm of its standard deviation over blocks of the term's own points"
            ),
            Variable("term_gram", ("term_row", "term_column"), "inner products of the weighted loss terms' gradients"),
            Variable("block_norm", ("block",), "2-norm of each block's gradient"),
            Variable("gram", ("row", "column"), "inner products of the block gradients and, last, of their sum"),
        ),
        "adam": _known(
            Variable("mean_norm", ("layer",), "2-norm of Adam's first moment m, bias-corrected"),
            Variable("rms_norm", ("layer",), "2-norm of the root of Adam's second moment v, bias-corrected"),
            Variable("correction", ("layer",), "mean over parameters of |m| / (sqrt(v) + eps)"),
            Variable("mean_norm_total", (), "2-norm of Adam's first moment m, all layers"),
            Variable("rms_norm_total", (), "2-norm of the root of Adam's second moment v, all layers"),
            Variable("correction_total", (), "mean over all parameters of |m| / (sqrt(v) + eps)"),
        ),
        "lr_cut": _known(
            Variable("rate", (), "learning rate of the training"),
            Variable("snr_before", (), "gradient SNR at the copied weights"),
            Variable("snr_after", (), "gradient SNR after the steps at the cut rate"),
            Variable("snr_uncut", (), "gradient SNR after as many steps at the training's rate"),
            Variable("mean_norm_before", (), "2-norm of the mean block gradient at the copied weights"),
            Variable("mean_norm_after", (), "2-norm of the mean block gradient after the steps at the cut rate"),
            Variable("loss_before", (), "weighted loss at the copied weights"),
            Variable("loss_after", (), "weighted loss after the steps at the cut rate"),
            Variable("loss_uncut", (), "weighted loss after as many steps at the training's rate"),
            Variable("sharpness", (), "largest eigenvalue of the loss Hessian"),
            Variable("preconditioned_sharpness", (), "largest eigenvalue of the Hessian in Adam's metric"),
            Variable("stability_limit", (), "sharpness above which the optimizer oscillates at its rate"),
        ),
        "residuals": _known(
            Variable("residual", ("point",), "residual at each interior point", dtype=""),
            Variable("attention", ("point",), "attention weight of each interior point", dtype=""),
        ),
        "reference": _known(
            Variable("residual", ("term",), "mean square residual of the problem's solution in each loss term"),
            Variable("scale", ("term",), "mean square of the largest part of that residual"),
        ),
        "homogeneity": _known(
            Variable("cell_mean", ("quantity",), "mean over the cells of the cell averages"),
            Variable("cell_rms", ("quantity",), "root mean square over the cells of the cell averages"),
        ),
        "activations": _known(
            Variable("activation", ("layer", "point", "neuron"), "activations of a fixed set of points", dtype="")
        ),
        "compression": _known(
            Variable("saturation", ("layer",), "share of activations in the outermost bins of their neuron"),
            Variable("row_entropy", ("layer",), "entropy of the binned activation patterns", units="bit"),
            Variable(
                "neuron_entropy", ("layer",), "mean over neurons of the entropy of one binned neuron", units="bit"
            ),
            Variable("extreme", ("layer",), "share of activations within 5 % of the ends of the activation's range"),
        ),
        "spectra": _known(
            Variable("singular_value", ("index",), "singular values, largest first"),
            Variable("floor", (), "error of the singular values from the SVD's own round-off"),
            Variable("entry_floor", (), "error of the singular values from round-off in the entries"),
            Variable("truncation", ("index",), "change of each singular value by the operator's truncation"),
            Variable("exact_singular_value", ("index",), "singular values under exact derivatives"),
            Variable("seconds", (), "wall time that the spectrum took", units="s"),
        ),
        "parameters": _known(Variable("value", ("parameter",), "flat parameter vector", dtype="")),
    }
)
"""The variables that our own solvers write and our analyzers read; any other name may be recorded beside them."""

ROW = {
    "step": Variable("step", (), "optimizer step", dtype="i8"),
    "evaluation": Variable("evaluation", (), "loss evaluation", dtype="i8"),
    "time": Variable("time", (), "wall time since the start of the run", units="s"),
}
"""The columns that every stream carries: its index and the wall time of each row."""

INDEX = MappingProxyType({"evaluations": "evaluation"})
"""The streams whose index is not "step", whether they are declared or not."""

SIZE_ONLY = "This is a netCDF dimension but not a netCDF variable"
"""What netCDF-4 calls the scale of a dimension that has a size and no values."""

COMMITTED = "committed"
STATUS = "status"
STOP_REASON = "stop_reason"
STATUS_DTYPES = MappingProxyType({STATUS: "S16", STOP_REASON: "S256"})
"""The bookkeeping datasets: one `committed` (int64) per stream, the others scalar at the root."""

LATE = "late"
LATE_DTYPES = MappingProxyType({"step": "i8", "name": "S64", "value": "f8"})


def format_version() -> str:
    """Return the version written to new files, `major.minor`.

    Returns:
        The version; readers accept any minor of their own major.

    Example:
        >>> format_version()
        '1.5'
    """
    return ".".join(str(number) for number in FORMAT_VERSION)
