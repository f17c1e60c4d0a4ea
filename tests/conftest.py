"""Fixtures of all tests: what this machine or checkout may lack is skipped visibly."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples each time: a run that fails fails again.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

# Before numpy or torch start their thread pools; a caller's own setting stands.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Under nohup, and in the background of a shell, these are ignored, by child processes too.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep what tests compute out of the user's cache; processes that tests start inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PINNSCOPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared():
    """The folder of public reference files, which the repository does not carry."""
    folder = os.environ.get("PINNSCOPE_SHARED")
    if not folder:
        pytest.skip("PINNSCOPE_SHARED is not set: the public reference files are not at hand")
    return Path(folder)


@pytest.fixture(scope="session")
def cuda():
    """The name of a CUDA device."""
    # Imported here: the tests of dynamics run without torch.
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return "cuda"
