"""The scripts of analyses/your_own/README.md, taken from the page itself, and what it prints of their diagnosis."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from analyses.diagnose import diagnose_file

PAGE = Path(__file__).parents[1] / "analyses" / "your_own" / "README.md"
TEXT = PAGE.read_text()
MARK = "# PINNscope"
NUMBER = re.compile(r"\d[\d.]*(?:e[-+]?\d+)?")
SCRIPTS = {re.search(r'"(\w+)\.h5"', code)[1]: code for code in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)}
SHOWN = dict(re.findall(r"\$ pinnscope diagnose (\w+)\.h5\n(.*?)```", TEXT, re.DOTALL))


def added(name):
    """Lines that are ours."""
    return [line for line in SCRIPTS[name].splitlines() if line.rstrip().endswith(MARK)]


def without(name):
    """The script without them."""
    return "\n".join(line for line in SCRIPTS[name].splitlines() if not line.rstrip().endswith(MARK)) + "\n"


def run(code, folder, parameters):
    """Run a script in a folder; return the last line that it printed and the bytes of its parameters at the end."""
    end = f"\nimport torch\ntorch.save([p.detach().clone() for p in {parameters}.parameters()], 'parameters.pt')\n"
    ended = subprocess.run(
        [sys.executable, "-c", code + end],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "DDE_BACKEND": "pytorch"},
    )
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.strip().splitlines()
    return lines[-1] if lines else "", (folder / "parameters.pt").read_bytes()


def is_a_few_lines_that_change_nothing(name, tmp_path_factory, parameters):
    """Run a script with our lines and without; return its folder and what it printed."""
    assert 0 < len(added(name)) < 15
    ours, plain = tmp_path_factory.mktemp(name), tmp_path_factory.mktemp(f"{name}-plain")
    printed, trained = run(SCRIPTS[name], ours, parameters)
    _, alone = run(without(name), plain, parameters)
    assert trained == alone and not list(plain.glob("*.h5"))
    return ours, printed


def told(table):
    """Problems and warnings of a printed table: name -> text without spaces."""
    lines = table.splitlines()
    header = next(line for line in lines if "what the file shows" in line)
    column = header.index("what the file shows")
    found, name = {}, None
    for line in lines[lines.index(header) + 2 :]:
        if not line.strip():
            break
        name = line[:column].strip() or name
        found[name] = found.get(name, "") + re.sub(r"\s", "", line[column:])
    return {name: text for name, text in found.items() if not name.startswith("info")}


def is_what_diagnose_says(name, folder, capsys, monkeypatch, factor=3.0):
    """Compare the page's table with today's: words are equal, numbers to a factor, as kernels differ."""
    monkeypatch.setenv("COLUMNS", "100")
    diagnose_file(folder / f"{name}.h5")
    now, shown = told(capsys.readouterr().out), told(SHOWN[name])
    assert list(now) == list(shown) and len(shown) >= 1
    for finding, text in shown.items():
        assert NUMBER.sub("#", now[finding]) == NUMBER.sub("#", text)
        for ours, theirs in zip(NUMBER.findall(now[finding]), NUMBER.findall(text), strict=True):
            assert float(ours) == pytest.approx(float(theirs), rel=factor - 1, abs=0) or float(theirs) == 0
            assert float(theirs) <= factor * float(ours) or float(theirs) == 0
