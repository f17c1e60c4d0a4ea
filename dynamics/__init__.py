"""Analysis of recorded training trajectories: open a file, run an analyzer, read what happened.

Nothing here trains, and nothing imports torch. Analyzers are pure functions of a trajectory. Each name is imported when
it is first asked for: whoever writes a trajectory does not wait for what reads it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynamics.attention import attention_statistics as attention_statistics
    from dynamics.certified import certified_singular_values as certified_singular_values
    from dynamics.certified import singular_value_bounds as singular_value_bounds
    from dynamics.compression import information_compression as information_compression
    from dynamics.converging import convergence as convergence
    from dynamics.copies.recovery import recover as recover
    from dynamics.copies.repacking import repack as repack
    from dynamics.diagnosis import Finding as Finding
    from dynamics.diagnosis import diagnose as diagnose
    from dynamics.differences import best_step as best_step
    from dynamics.differences import predict_floor as predict_floor
    from dynamics.entropy import effective_rank as effective_rank
    from dynamics.entropy import truncated_entropy as truncated_entropy
    from dynamics.equilibrium import learning_rate_equilibrium as learning_rate_equilibrium
    from dynamics.export.netcdf import export_netcdf as export_netcdf
    from dynamics.export.table import export_csv as export_csv
    from dynamics.export.tensorboard import export_tensorboard as export_tensorboard
    from dynamics.file.claim import RecorderError as RecorderError
    from dynamics.following.following import Follower as Follower
    from dynamics.following.following import follow as follow
    from dynamics.homogeneity import residual_homogeneity as residual_homogeneity
    from dynamics.lr_cut import oscillation as oscillation
    from dynamics.phases import detect_phases as detect_phases
    from dynamics.recorder import Recorder as Recorder
    from dynamics.segments.joining import join as join
    from dynamics.snr import gradient_snr as gradient_snr
    from dynamics.spectra import singular_spectrum as singular_spectrum
    from dynamics.trajectory import TrajectoryError as TrajectoryError
    from dynamics.trajectory import open_trajectory as open_trajectory
    from dynamics.validation import validate as validate

_HOMES = {
    "Finding": "dynamics.diagnosis",
    "Follower": "dynamics.following.following",
    "Recorder": "dynamics.recorder",
    "RecorderError": "dynamics.file.claim",
    "TrajectoryError": "dynamics.trajectory",
    "attention_statistics": "dynamics.attention",
    "best_step": "dynamics.differences",
    "certified_singular_values": "dynamics.certified",
    "convergence": "dynamics.converging",
    "detect_phases": "dynamics.phases",
    "diagnose": "dynamics.diagnosis",
    "effective_rank": "dynamics.entropy",
    "export_csv": "dynamics.export.table",
    "export_netcdf": "dynamics.export.netcdf",
    "export_tensorboard": "dynamics.export.tensorboard",
    "follow": "dynamics.following.following",
    "gradient_snr": "dynamics.snr",
    "information_compression": "dynamics.compression",
    "join": "dynamics.segments.joining",
    "learning_rate_equilibrium": "dynamics.equilibrium",
    "open_trajectory": "dynamics.trajectory",
    "oscillation": "dynamics.lr_cut",
    "predict_floor": "dynamics.differences",
    "recover": "dynamics.copies.recovery",
    "repack": "dynamics.copies.repacking",
    "residual_homogeneity": "dynamics.homogeneity",
    "singular_spectrum": "dynamics.spectra",
    "singular_value_bounds": "dynamics.certified",
    "truncated_entropy": "dynamics.entropy",
    "validate": "dynamics.validation",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    """Import a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
