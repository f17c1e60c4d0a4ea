"""The device that a run asks for, refused where this machine does not have it."""

from __future__ import annotations

import torch


def available(device: str | torch.device) -> torch.device:
    """Return the device, refusing one that this machine does not have.

    Args:
        device: "cpu", "cuda", "cuda:1", ...

    Returns:
        The torch device.

    Raises:
        ValueError: no such device here.

    Example:
        >>> available("cpu")
        device(type='cpu')
    """
    try:
        device = torch.device(device)
    except RuntimeError:
        raise ValueError(f"unknown device {device!r}; expected 'cpu', 'cuda' or 'cuda:N'") from None
    if device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index):
        raise ValueError(f"device {str(device)!r} is not supported; expected 'cpu', 'cuda' or 'cuda:N'")
    found = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= found:
        raise ValueError(f"device {str(device)!r} is not here ({found} CUDA devices found): use device='cpu'")
    return device
