"""The states of the random generators that a training may draw from without saying so."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import torch


def random_state(device: torch.device) -> dict[str, object]:
    """Return the states of the global generators of torch, numpy and Python.

    Args:
        device: of the training; a CUDA device's own generator is among them.

    Returns:
        Tensors, arrays and numbers, for `set_random_state`.

    Example:
        >>> kept = random_state(torch.device("cpu"))
        >>> first = torch.rand(()), np.random.rand(), random.random()
        >>> set_random_state(kept, torch.device("cpu"))
        >>> first == (torch.rand(()), np.random.rand(), random.random())
        True
    """
    # Of numpy's global generator, which a residual may use: it is this one that has to go on.
    kind, key, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    version, words, pending = random.getstate()
    found: dict[str, object] = {
        "torch": torch.get_rng_state(),
        "numpy": {"kind": kind, "key": key, "position": position, "has_gauss": has_gauss, "gauss": gauss},
        "python": {"version": version, "words": np.array(words, np.uint64), "pending": pending},
    }
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def set_random_state(state: Mapping, device: torch.device) -> None:
    """Put the global generators into states that were taken before.

    Args:
        state: from `random_state`.
        device: of the training.
    """
    numpy, python = state["numpy"], state["python"]
    torch.set_rng_state(state["torch"])
    np.random.set_state(  # noqa: NPY002
        (numpy["kind"], numpy["key"], numpy["position"], numpy["has_gauss"], numpy["gauss"])
    )
    random.setstate((python["version"], tuple(python["words"].tolist()), python["pending"]))
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
