"""The README's examples do what the README says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[1] / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```\n.*?```\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module", params=range(len(EXAMPLES)))
def example(request, tmp_path_factory):
    code, printed = EXAMPLES[request.param]
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path_factory.mktemp("readme"), capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, printed


def test_it_prints_what_the_readme_shows(example):
    """Words and integers are equal; other numbers to a factor of 3, since rounding differs between machines."""
    came, shown = example
    number = re.compile(r"\d[\d.]*(?:e[-+]\d+)?")
    assert number.sub("#", came) == number.sub("#", shown)
    for ours, theirs in zip(number.findall(came), number.findall(shown), strict=True):
        assert ours == theirs if theirs.isdigit() and "e" not in theirs else 1 / 3 < float(ours) / float(theirs) < 3


def test_the_first_example_comes_early():
    lines = TEXT.splitlines()
    assert lines.index("```python") < 40
    assert len(EXAMPLES) == TEXT.count("```python") == 6
