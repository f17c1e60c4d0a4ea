"""The sections of a report in their order: what each needs, what would record it, and how it is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dynamics.report.coefficients import coefficients_section
from dynamics.report.course import Run
from dynamics.report.layers import compression_section
from dynamics.report.losses import losses_section, terms_section
from dynamics.report.optimizer import adam_section, lr_cut_section
from dynamics.report.places import attention_section, domain_section
from dynamics.report.signal import homogeneity_section, snr_section
from dynamics.report.spectra import spectrum_section


@dataclass(frozen=True)
class Section:
    """One section of a report.

    Args:
        name: identifier in the page.
        heading: its title.
        needs: alternatives, each a group of "stream/variable" that must hold a finite value.
        record: what would record them; empty where most runs have no such thing, whose absence is not worth a word.
        attach: the same for a training loop that is not ours; empty where `solvers.attach` does not record them.
        write: makes the section's HTML.

    Example:
        >>> SECTIONS[0].needs
        (('series/loss',),)
    """

    name: str
    heading: str
    needs: tuple[tuple[str, ...], ...]
    record: str
    attach: str
    write: Callable[[Run], str]


AT_POINTS = "pass attach residuals= and points="

SECTIONS = (
    Section(
        "losses",
        "Losses and error",
        (("series/loss",),),
        "record the scalar loss of every step",
        "tell the loss, watched.terms(...) or terms=",
        losses_section,
    ),
    Section(
        "coefficients",
        "Coefficients",
        (("coefficients/value",),),
        "",
        "",
        coefficients_section,
    ),
    Section(
        "snr",
        "Gradient signal to noise",
        (("gradients/mean_norm_total", "gradients/std_norm_total"),),
        "record /gradients: solvers.probes.block_gradients()",
        AT_POINTS,
        snr_section,
    ),
    Section(
        "homogeneity",
        "Homogeneity",
        (("homogeneity/cell_mean", "homogeneity/cell_rms"), ("residuals/residual", "points/interior")),
        "record /homogeneity: solvers.probes.homogeneity()",
        AT_POINTS,
        homogeneity_section,
    ),
    Section(
        "terms",
        "Gradient norms",
        (("gradients/term_mean_norm",), ("series/gradient_norm",)),
        "record /gradients: solvers.probes.block_gradients(), or the gradient norm of every step",
        "",
        terms_section,
    ),
    Section(
        "adam",
        "Adam's learning-rate correction",
        (("adam/correction",),),
        "record /adam: solvers.probes.adam_moments(), where the optimizer is Adam",
        "",
        adam_section,
    ),
    Section(
        "lr-cut",
        "A cut of the learning rate",
        (("lr_cut/snr_before",), ("lr_cut/loss_before",), ("lr_cut/sharpness",)),
        "record /lr_cut: solvers.probes.lr_cut()",
        "",
        lr_cut_section,
    ),
    Section(
        "attention",
        "Attention weights",
        (("residuals/attention",),),
        "train with attention and record /residuals: solvers.probes.residuals()",
        "",
        attention_section,
    ),
    Section(
        "domain",
        "Last residual over the domain",
        (("residuals/residual", "points/interior"),),
        "record /residuals and /points: solvers.probes.residuals()",
        AT_POINTS,
        domain_section,
    ),
    Section(
        "compression",
        "Compression of the layers",
        (("compression/saturation",), ("activations/activation",)),
        "record /compression: solvers.probes.compression(), or /activations",
        "pass attach points=, or activations= where they are not found",
        compression_section,
    ),
    Section(
        "spectra",
        "Singular spectra",
        (("spectra/singular_value",),),
        "record /spectra: solvers.spectra_probe.jacobian_spectrum(), or solve by least squares",
        "",
        spectrum_section,
    ),
)
