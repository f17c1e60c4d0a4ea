"""Torch in tests: one thread and a fixed seed, so that nothing depends on the machine or on the order of tests."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(20240607)
