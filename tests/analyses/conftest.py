"""Fixtures of the tests of commands."""

import pytest


@pytest.fixture
def written(tmp_path):
    """Write a TOML file and return its path."""

    def write(text):
        path = tmp_path / "run.toml"
        path.write_text(text)
        return str(path)

    return write
