"""The file format in one place: streams, variables, dimensions, units and version of a trajectory.

`data/README.md` draws the same thing as a tree. The recorder creates what stands here, `validate` checks against it,
and the analyzers look their variables up in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

FORMAT = "pinnscope-trajectory"
FORMAT_VERSION = (1, 1)
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
            Variable("gradient_norm", (), "2-norm of the loss gradient"),
            Variable("update_norm", (), "2-norm of the parameter update"),
            Variable("parameter_norm", (), "2-norm of the parameters"),
            Variable("rel_l2", (), "relative L2 error against the problem's solution"),
            Variable("max_error", (), "largest error against the problem's solution"),
            Variable("exact_loss", (), "unweighted interior loss with exact derivatives"),
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
            Variable("interior_mean_norm_total", (), "2-norm of the mean block gradient of the interior term alone"),
            Variable("block_norm", ("block",), "2-norm of each block's gradient"),
            Variable("gram", ("row", "column"), "inner products of the block gradients and, last, of their sum"),
        ),
        "residuals": _known(
            Variable("residual", ("point",), "residual at each interior point", dtype=""),
            Variable("attention", ("point",), "attention weight of each interior point", dtype=""),
        ),
        "homogeneity": _known(
            Variable("cell_mean", ("quantity",), "mean over the cells of the cell averages"),
            Variable("cell_rms", ("quantity",), "root mean square over the cells of the cell averages"),
        ),
        "activations": _known(
            Variable("activation", ("layer", "point", "neuron"), "activations of a fixed set of points", dtype="")
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
        '1.1'
    """
    return ".".join(str(number) for number in FORMAT_VERSION)
