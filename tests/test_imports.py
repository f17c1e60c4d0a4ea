"""Who imports what, seen from a fresh interpreter."""

import subprocess
import sys

import pytest


def test_dynamics_does_not_import_torch():
    code = (
        "import sys, dynamics; print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'solvers', 'dynamics'}))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert answer.stdout.strip() == "['dynamics']", answer.stderr


@pytest.mark.parametrize("package", ["dynamics", "solvers"])
def test_no_public_name_hides_behind_a_module(package):
    """A module that is imported first takes its name in the package, and the function of that name with it."""
    code = (
        f"import pkgutil, importlib, {package} as package; "
        "modules = {m.name for m in pkgutil.iter_modules(package.__path__)}; "
        "[importlib.import_module(package.__name__ + '.' + m) for m in sorted(modules)]; "
        "print(sorted(n for n in package.__all__ if n in modules - {'problems'} or "
        "not callable(getattr(package, n)) and n != 'problems'))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert answer.stdout.strip() == "[]", answer.stderr


def test_every_module_imports_where_its_packages_are_there():
    """Where a module does not import its doctests are skipped: of those that need packages of others, of no other."""
    code = (
        "import pkgutil, importlib, dynamics, solvers, analyses\n"
        "for package in (dynamics, solvers, analyses):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        try: importlib.import_module(module.name)\n"
        "        except ModuleNotFoundError as error: print(module.name, error.name)\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr
    absent = {line.split()[1].split(".")[0] for line in answer.stdout.splitlines()}
    assert absent <= {"deepxde", "lightning", "pina"}
