"""Sections on what is descended: losses, and the gradients of their terms."""

from __future__ import annotations

import xarray as xr

from dynamics.converging import convergence
from dynamics.plots import draw_losses
from dynamics.report.course import Run, finite, over_steps, told
from dynamics.report.page import paragraph
from dynamics.report.panels import draw_cosines, draw_terms, names_of


def losses_section(run: Run) -> str:
    """Draw losses and error, and say how the loss converged.

    Args:
        run: that recorded what `SECTIONS` says.

    Returns:
        HTML.

    Raises:
        ValueError: for a single solve, which has no course.
    """
    series = run.trajectory["series"].dataset
    if series.sizes["step"] == 1:
        raise ValueError("a single solve has no course; its losses and errors stand under What was reached")
    alt = told("Weighted loss", series["loss"])
    alt += "; " + told("relative L2 error", series["rel_l2"]) if "rel_l2" in series else ""
    caption = "Black is what the optimizer sees; with attention or other weights it may rise while the error falls."
    drawn = over_steps(
        run, "losses", "series", lambda axis: draw_losses(axis, run.trajectory), alt, caption, interval=True
    )
    return drawn + paragraph(_course(convergence(run.trajectory)))


def _course(found: xr.Dataset) -> str:
    stage, reason = (str(found.attrs.get(name, "")) for name in ("stage", "reason"))
    text = f"Stage at the end: {stage}" + (f" ({reason})." if reason else ".")
    spans = [f"{a:.0f} to {b:.0f}" for a, b in zip(found.plateau_start.values, found.plateau_stop.values, strict=True)]
    if spans:
        text += f" Plateaus of the loss, steps: {', '.join(spans[:8])}{', ...' if len(spans) > 8 else ''}."
    if count := found.sizes["spike"]:
        text += f" Spikes: {count}, the highest {found['spike_height'].max().item():.2g} times the running median."
    return text


def terms_section(run: Run) -> str:
    """Draw the gradient norms of the loss terms and the cosines between them; without terms, of the whole loss.

    Args:
        run: that recorded what `SECTIONS` says.

    Returns:
        HTML.
    """
    gradients = run.trajectory["gradients"].dataset if "gradients" in run.trajectory else xr.Dataset()
    if "term_mean_norm" not in gradients:
        alt = told("Norm of the gradient", run.trajectory["series"]["gradient_norm"])
        caption = "The whole loss; norms by term are recorded with the gradients of each term."
        return over_steps(run, "terms", "series", lambda axis: draw_terms(axis, run.trajectory), alt, caption)
    norms = gradients["term_mean_norm"]
    names = names_of(norms, "term")
    alt = "; ".join(told(f"gradient norm of {name}", norms.isel(term=index)) for index, name in enumerate(names))
    caption = "Of the weighted terms: the largest decides where the parameters go."
    drawn = over_steps(run, "terms", "gradients", lambda axis: draw_terms(axis, run.trajectory), alt, caption)
    if not finite(run.trajectory, "gradients/term_gram") or len(names) < 2:
        return drawn
    caption = "Below 0 a step that lowers one term raises the other."
    return drawn + over_steps(
        run,
        "cosines",
        "gradients",
        lambda axis: draw_cosines(axis, gradients["term_gram"], names),
        f"Cosines between the gradients of {', '.join(names)}",
        caption,
    )
