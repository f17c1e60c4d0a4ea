"""Who imports what, seen from a fresh interpreter."""

import subprocess
import sys


def test_dynamics_does_not_import_torch():
    code = (
        "import sys, dynamics; print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'solvers', 'dynamics'}))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert answer.stdout.strip() == "['dynamics']", answer.stderr


def test_no_public_name_hides_behind_a_module():
    """A module that is imported first takes its name in the package, and the function of that name with it."""
    code = (
        "import pkgutil, importlib, dynamics; "
        "modules = {m.name for m in pkgutil.iter_modules(dynamics.__path__)}; "
        "[importlib.import_module('dynamics.' + m) for m in sorted(modules)]; "
        "print(sorted(n for n in dynamics.__all__ if n in modules or not callable(getattr(dynamics, n))))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert answer.stdout.strip() == "[]", answer.stderr
