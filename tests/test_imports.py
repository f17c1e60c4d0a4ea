"""Who imports what, seen from a fresh interpreter."""

import subprocess
import sys


def test_dynamics_does_not_import_torch():
    code = (
        "import sys, dynamics; print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'solvers', 'dynamics'}))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert answer.stdout.strip() == "['dynamics']", answer.stderr
