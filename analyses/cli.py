"""The command `pinnscope`. Everything heavy is imported inside the command that needs it: --help answers at once."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Optional

import typer

app = typer.Typer(
    name="pinnscope",
    help="Spectral and training-dynamics analysis of neural PDE solvers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Trajectory = Annotated[Path, typer.Argument(metavar="RUN.h5", help="A trajectory; running or crashed ones will do.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
Figure = Annotated[Optional[Path], typer.Option("--figure", metavar="PNG", help="Draw a figure into a new file.")]  # noqa: UP045


def reported(command):
    """Turn the errors that a user can mend into one line and an exit code: 2 for usage, 1 for a run or a file."""

    @functools.wraps(command)
    def wrapped(*args, **kwargs):
        from analyses.terminal import complain

        try:
            return command(*args, **kwargs)
        except (ValueError, FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError) as error:
            complain(str(error))
            raise typer.Exit(1 if type(error).__name__ == "TrajectoryError" else 2) from None
        except BrokenPipeError:
            # Whoever read our output has seen enough.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except OSError as error:
            complain(str(error))
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            complain("interrupted; rows recorded so far, if any, are kept and readable")
            raise typer.Exit(130) from None

    return wrapped


def _new(path: Path | None, overwrite: bool, suffixes: tuple[str, ...] = ()) -> None:
    if path is None:
        return
    if suffixes and path.suffix.lower() not in suffixes:
        raise ValueError(f"{path}: expected a name that ends in {' or '.join(suffixes)}")
    if path.is_dir() or (path.exists() and not overwrite):
        what = "is a directory" if path.is_dir() else "exists"
        raise FileExistsError(f"{path} {what}; expected a new file: choose another name or pass --overwrite")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is no directory; expected one for {path.name}: create it first")


FIGURES = (".png", ".pdf", ".svg")


@app.command(epilog="Example: pinnscope run helmholtz-rba -o run.h5 --steps 1000")
@reported
def run(
    case: Annotated[Optional[str], typer.Argument(metavar="CASE|FILE.toml", help="A case, or a TOML file.")] = None,  # noqa: UP045
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="RUN.h5", help="Default: CASE.h5.")] = None,
    segments: Annotated[
        bool, typer.Option("--segments", help="For network disks: a directory of closed files, CASE.segments.")
    ] = False,
    steps: Annotated[Optional[int], typer.Option(min=1, help="Instead of the case's.")] = None,  # noqa: UP045
    seed: Annotated[Optional[int], typer.Option(help="Instead of the case's.")] = None,  # noqa: UP045
    device: Annotated[Optional[str], typer.Option(help="cpu, cuda, cuda:1.")] = None,  # noqa: UP045
    dtype: Annotated[Optional[str], typer.Option(help="float32 or float64.")] = None,  # noqa: UP045
    operator: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Instead of the case's: autodiff, finite-difference, tangent-prop, rbf-fd."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="The full-size form: hours on a CPU.")] = False,
    threads: Annotated[Optional[int], typer.Option(min=1, help="CPU threads.")] = None,  # noqa: UP045
    overwrite: Overwrite = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with RUN.h5; --steps is the number in all.")] = False,
    checkpoint: Annotated[float, typer.Option(min=0, help="Seconds between checkpoints; 0: none.")] = 60.0,
    anyway: Annotated[bool, typer.Option("--anyway", help="Resume also under other versions or threads.")] = False,
    unrecorded: Annotated[
        bool, typer.Option("--go-on-unrecorded", help="Train on where the file cannot be written on: a full disk.")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="List problems and cases and stop.")] = False,
) -> None:
    """Run a case and record its trajectory."""
    from analyses.config import UsageError, case_names, load
    from analyses.terminal import complain

    if listed:
        from analyses.listing import show

        show()
        return
    if case is None:
        raise UsageError(f"expected a case or a TOML file; cases: {', '.join(case_names())}")
    instead = {"steps": steps, "operator": operator, "seed": seed, "device": device, "dtype": dtype, "threads": threads}
    config = load(case, full=full).override(**instead)
    output = output or Path(f"{Path(case).stem}{'.segments' if segments else '.h5'}")
    if segments and output.suffix != ".segments":
        raise UsageError(f"{output}: expected a name that ends in .segments for a directory of them, or no --segments")
    if (resume and overwrite) or (anyway and not resume):
        raise UsageError("--overwrite begins anew and --resume goes on, --anyway belongs to --resume: take one of them")
    if not resume and output.suffix == ".segments":
        from dynamics.segments.segment_directory import check_directory

        check_directory(str(output), overwrite)
    elif not resume:
        _new(output, overwrite)
    from analyses.run import run as run_config

    kept = {"overwrite": overwrite, "checkpoint": checkpoint or None, "resume": resume, "anyway": anyway}
    outcome = run_config(config, output, strict=not unrecorded, **kept)
    if outcome.status == "diverged":
        complain(
            f"the run diverged ({outcome.reason}); the steps before are kept in {output}: pinnscope diagnose {output}"
        )
        raise typer.Exit(1)


@app.command(epilog="Example: pinnscope diagnose run.h5 --figure run.png")
@reported
def diagnose(
    trajectory: Trajectory,
    figure: Figure = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Say what happened in a run, with evidence and what to try."""
    _new(figure, overwrite, FIGURES)
    from analyses.diagnose import diagnose_file

    diagnose_file(trajectory, figure=figure, as_json=json)


@app.command(epilog="Example: pinnscope report run.h5 -o report.html")
@reported
def report(
    trajectory: Trajectory,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="HTML", help="Default: RUN.html.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write findings, curves, spectra and configuration into one HTML file that needs no network."""
    output = output or Path(f"{trajectory.stem}.html")
    _new(output, overwrite, (".html", ".htm"))
    from analyses.report import write_report

    write_report(trajectory, output)


@app.command(epilog="Example: pinnscope spectrum run.h5 --step 1000 --figure spectrum.png")
@reported
def spectrum(
    trajectory: Trajectory,
    step: Annotated[Optional[int], typer.Option(help="The recorded step nearest to it; default: the last.")] = None,  # noqa: UP045
    all_rows: Annotated[bool, typer.Option("--all-rows", help="Of all rows, where the run recorded it.")] = False,
    figure: Figure = None,
    csv: Annotated[Optional[Path], typer.Option(metavar="FILE", help="Write the values into a new CSV file.")] = None,  # noqa: UP045
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Show a recorded spectrum: its floors, what can be trusted, K(a) and H(a)."""
    _new(figure, overwrite, FIGURES)
    _new(csv, overwrite, (".csv",))
    from analyses.spectrum import show_spectrum

    show_spectrum(trajectory, step=step, all_rows=all_rows, figure=figure, values=csv, as_json=json)


@app.command(epilog="Example: pinnscope compare ad.h5 fd.h5 --figure both.png")
@reported
def compare(
    first: Trajectory,
    second: Trajectory,
    figure: Figure = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Also where problem, points or precision differ.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Put two runs of one problem side by side: residuals, errors, phases, spectra above their floors."""
    _new(figure, overwrite, FIGURES)
    from analyses.compare import compare_files

    compare_files(first, second, figure=figure, anyway=anyway, as_json=json)


REFERENCE_FILES = "reference-files"
PAPERS = ("ad-vs-fd", "dt-pinn", "n-tangentprop", "total-diffusion", REFERENCE_FILES)


@app.command(epilog="Example: pinnscope reproduce total-diffusion -o total-diffusion")
@reported
def reproduce(
    paper: Annotated[
        str,
        typer.Argument(
            metavar="PAPER",
            help="ad-vs-fd: arXiv 2405.14099; dt-pinn: arXiv 2205.09332; n-tangentprop: arXiv 2412.09752; "
            "total-diffusion: arXiv 2403.18494; reference-files: how far the FILEs are from the equations.",
        ),
    ],
    files: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(metavar="[FILE...]", help="reference-files: .mat, .npz, .npy or .csv."),
    ] = None,
    output: Annotated[Optional[Path], typer.Option("-o", "--output", metavar="FOLDER", help="Default: PAPER.")] = None,  # noqa: UP045
    seeds: Annotated[Optional[int], typer.Option(min=1, help="Default: 16, 3, 3, 5.")] = None,  # noqa: UP045
    quick: Annotated[bool, typer.Option("--quick", help="A short form: short trainings.")] = False,
    full: Annotated[bool, typer.Option("--full", help="At the paper's size, hours on a CPU; not ad-vs-fd.")] = False,
    device: Annotated[Optional[str], typer.Option(help="Of --full and dt-pinn: cpu, cuda.")] = None,  # noqa: UP045
    logs: Annotated[
        Optional[Path], typer.Option(metavar="FOLDER", help="total-diffusion: the authors' published logs.")  # noqa: UP045
    ] = None,
    problem: Annotated[Optional[str], typer.Option(help="reference-files: what they solve.")] = None,  # noqa: UP045
    coefficient: Annotated[Optional[float], typer.Option(help="Of that problem: nu, D or mu.")] = None,  # noqa: UP045
    overwrite: Overwrite = False,
) -> None:
    """Measure the claims of a paper, each as a row with a verdict, or the errors of reference files."""
    from analyses.config import UsageError, choice

    folder = output or Path(paper)
    if paper not in PAPERS:
        raise UsageError(f"unknown paper {paper!r}; expected {choice(paper, PAPERS)}")
    if paper == REFERENCE_FILES:
        if quick or full or not (seeds is device is logs is None):
            raise UsageError("reference-files takes FILEs, -o, --problem and --coefficient: leave the rest out")
        from analyses.reproduce.reference_files import reproduce as reference_files

        _, refused = reference_files(files or [], output, problem=problem, coefficient=coefficient, overwrite=overwrite)
        if refused:
            raise typer.Exit(1)
        return
    if files or problem is not None or coefficient is not None:
        raise UsageError(f"FILEs, --problem and --coefficient belong to reference-files, {paper} takes none")
    if paper == "dt-pinn":
        if logs is not None or (quick and full):
            raise UsageError("--logs belongs to total-diffusion, and --quick is what dt-pinn does without --full")
        from analyses.reproduce.dt_pinn import reproduce as dt_pinn

        dt_pinn(folder, full=full, seeds=seeds, device=device or "cpu", overwrite=overwrite)
        return
    if paper == "n-tangentprop":
        if logs is not None or device is not None or (quick and full):
            raise UsageError(
                "n-tangentprop takes neither --logs nor --device, it runs on the CPU; --quick is what it does without "
                "--full"
            )
        from analyses.reproduce.n_tangentprop import reproduce as n_tangentprop

        n_tangentprop(folder, full=full, seeds=seeds, overwrite=overwrite)
        return
    if device is not None and not full:
        raise UsageError("--device belongs to --full, the rest runs on the CPU: leave it out or add --full")
    if paper == "ad-vs-fd":
        if full or logs is not None:
            raise UsageError("--full and --logs belong to total-diffusion: leave them out")
        from analyses.reproduce.ad_vs_fd import reproduce as ad_vs_fd

        ad_vs_fd(folder, seeds=seeds or 16, quick=quick, overwrite=overwrite)
        return
    from analyses.reproduce import total_diffusion

    if full:
        if quick or logs is not None or (seeds or 1) > 1:
            raise UsageError("--full is one run of each problem: leave out --quick, --logs and --seeds")
        total_diffusion.full_size(folder, device=device or "cpu", overwrite=overwrite)
        return
    total_diffusion.reproduce(folder, seeds=seeds or 5, quick=quick, logs=logs, overwrite=overwrite)


@app.command(epilog="Example: pinnscope validate run.h5")
@reported
def validate(trajectory: Trajectory) -> None:
    """Check a file against the trajectory format and name every departure."""
    from analyses.terminal import complain, say
    from dynamics import validate as departures

    found = departures(trajectory)
    for departure in found:
        complain(f"{trajectory}: {departure}")
    if found:
        raise typer.Exit(1)
    say(f"{trajectory} is a valid trajectory")


@app.command(epilog="Example: pinnscope info run.h5")
@reported
def info(trajectory: Trajectory) -> None:
    """Show what a trajectory holds, without loading it."""
    from analyses.info import show

    show(trajectory)


@app.command(epilog="Example: pinnscope demo -o demo")
@reported
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where to write.")] = Path("demo"),
    quick: Annotated[bool, typer.Option("--quick", help="A short form: about 15 s.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Run two solves and two trainings, compare and diagnose them."""
    from analyses.demo import demo as run_demo

    run_demo(output, quick=quick, overwrite=overwrite)


@app.command(epilog="Example: pinnscope recover run.h5; exit codes: 0 all rows kept, 1 some lost or none to be had.")
@reported
def recover(
    trajectory: Trajectory,
    output: Annotated[
        Optional[Path], typer.Option("-o", "--output", metavar="NEW.h5", help="Leave RUN.h5; needed for damage.")  # noqa: UP045
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Close a file that a crash left: its committed rows, verified, take its place."""
    from analyses.recover import recover_file

    if not recover_file(trajectory, output, overwrite=overwrite):
        raise typer.Exit(1)


@app.command(epilog="Example: pinnscope repack run.h5 --level 9")
@reported
def repack(
    trajectory: Trajectory,
    output: Annotated[
        Optional[Path], typer.Option("-o", "--output", metavar="NEW.h5", help="Default: in place.")  # noqa: UP045
    ] = None,
    level: Annotated[int, typer.Option(min=1, max=9, help="Of gzip.")] = 4,
    overwrite: Overwrite = False,
) -> None:
    """Compress a finished trajectory for the archive; values stay the same bit for bit."""
    from analyses.repack import repack_file

    repack_file(trajectory, output, level=level, overwrite=overwrite)


@app.command(epilog="Example: pinnscope watch run.h5")
@reported
def watch(
    trajectory: Trajectory,
    interval: Annotated[float, typer.Option(min=0.05, help="Seconds between two looks.")] = 0.5,
    once: Annotated[bool, typer.Option("--once", help="Show one frame and stop.")] = False,
) -> None:
    """Show a run while it trains: losses, SNR, phase, rate, time left; without a terminal, one line a look."""
    from analyses.watch import watch as watch_run

    watch_run(trajectory, interval=interval, once=once)


@app.command(epilog="Example: pinnscope export run.h5 -o run.nc; pinnscope export run.h5 --format csv -o tables")
@reported
def export(
    trajectory: Trajectory,
    output: Annotated[
        Optional[Path], typer.Option("-o", "--output", metavar="NC|FOLDER", help="Default: RUN.nc, RUN-csv, ...")  # noqa: UP045
    ] = None,
    form: Annotated[Optional[str], typer.Option("--format", help="netcdf, csv or tensorboard.")] = None,  # noqa: UP045
    stream: Annotated[Optional[list[str]], typer.Option(help="Only this group; may be repeated.")] = None,  # noqa: UP045
    overwrite: Overwrite = False,
) -> None:
    """Write a trajectory for other programs: netCDF-4, CSV tables, TensorBoard event files."""
    from analyses.export import export as export_file

    export_file(trajectory, output, form=form, streams=stream, overwrite=overwrite)


@app.command(
    name="import", epilog="Example: pinnscope import loss.dat -o run.h5 --terms pde,left,right --weights 1,10,10"
)
@reported
def import_(
    log: Annotated[
        Path, typer.Argument(metavar="LOG", help="loss.dat, metrics.csv, TensorBoard events, a W&B export.")
    ],
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="RUN.h5", help="Default: LOG.h5.")] = None,
    terms: Annotated[Optional[str], typer.Option(help="DeepXDE: names of the loss terms, with commas.")] = None,  # noqa: UP045
    weights: Annotated[str | None, typer.Option(help="What the terms were multiplied by: 1,10 or pde=1,bc=10.")] = None,
    metrics: Annotated[Optional[str], typer.Option(help="DeepXDE: names of the metrics.")] = None,  # noqa: UP045
    run: Annotated[Optional[str], typer.Option(help="W&B: which of several runs.")] = None,  # noqa: UP045
    overwrite: Overwrite = False,
) -> None:
    """Make a trajectory of another program's log, and say which analyzers lack what."""
    output = output or Path(f"{log.stem}.h5")
    _new(output, overwrite)
    from analyses.import_log import import_log

    import_log(log, output, terms=terms, weights=weights, metrics=metrics, run=run, overwrite=overwrite)


def main() -> None:
    """Start the command line."""
    # Readers must not fail where a file system has no locks.
    os.environ.setdefault("HDF5_USE_FILE_LOCKING", "BEST_EFFORT")
    warnings.showwarning = _warn
    app()


def _warn(message: Warning | str, *_: object) -> None:
    """Print what is warned of in one line, as errors are, without the line of code that said it."""
    from analyses.terminal import complain

    complain(f"warning: {message}")


if __name__ == "__main__":
    main()
