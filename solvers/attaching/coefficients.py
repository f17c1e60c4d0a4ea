"""Unknown coefficients that a user's loop trains beside the network, as the stream of an inverse problem holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from dynamics.format import Stream
from dynamics.recorder import Recorder
from solvers.attaching.owned import OwnedParameters, numbers

_named: WeakKeyDictionary[Recorder, tuple[str, ...]] = WeakKeyDictionary()


class ModelAndCoefficients:
    """Parameters by name: those of the model, then the coefficients that are none of them.

    Args:
        model: trained.
        coefficients: by name.

    Example:
        >>> import torch
        >>> both = ModelAndCoefficients(nn.Linear(1, 1), {"nu": nn.Parameter(torch.ones(()))})
        >>> [name for name, _ in both.named_parameters()]
        ['weight', 'bias', 'nu']
    """

    def __init__(self, model: nn.Module, coefficients: Mapping[str, Tensor]):
        self._model, self._coefficients = model, coefficients

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield names and tensors.

        Yields:
            Name and tensor.
        """
        own = dict(self._model.named_parameters())
        yield from own.items()
        for name, tensor in self._coefficients.items():
            if not any(tensor is each for each in own.values()):
                yield name, tensor


class Coefficients:
    """The values of the coefficients at the beginning of each step.

    Args:
        coefficients: tensors of one number by name.
        owned: parameters of the optimizer.
        recorder: that other attachments may have named coefficients to.

    Raises:
        ValueError: none, no tensor of one number, one that the optimizer does not own, or others than the recorder has
            of an earlier attachment.

    Example:
        >>> import os, tempfile, torch
        >>> layer, nu = nn.Linear(1, 1), nn.Parameter(torch.tensor(0.5))
        >>> owned = OwnedParameters(torch.optim.SGD([*layer.parameters(), nu]), layer)
        >>> recorder = Recorder(os.path.join(tempfile.mkdtemp(), "run.h5"))
        >>> Coefficients({"nu": nu}, owned, recorder).row()
        {'value': [0.5]}
    """

    def __init__(self, coefficients: Mapping[str, Tensor], owned: OwnedParameters, recorder: Recorder):
        for name, tensor in coefficients.items():
            _check(name, tensor, owned)
        names = tuple(coefficients)
        known = _named.get(recorder, names)
        if not names or names != known:
            raise ValueError(
                f"expected the coefficients {', '.join(known) or '{name: tensor}'}, came {', '.join(names) or 'none'}: "
                "name the same ones in the same order to all attachments of a recorder"
            )
        _named[recorder] = names
        self._tensors = list(coefficients.values())
        self.stream = Stream("coefficients", coords={"coefficient": list(names)})

    def row(self) -> dict[str, list[float]]:
        """Return the present values.

        Returns:
            Variables of the stream.
        """
        return {"value": numbers(*(tensor.detach() for tensor in self._tensors))}


def _check(name: str, tensor: object, owned: OwnedParameters) -> None:
    if not isinstance(tensor, Tensor) or tensor.numel() != 1 or tensor.is_complex():
        came = f"shape {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else repr(tensor)
        raise ValueError(
            f"expected the coefficient {name!r} as a real tensor of one number, came {came}: pass the trained tensor "
            "itself, one name an entry"
        )
    if not any(tensor is parameter for parameter in owned.parameters):
        raise ValueError(
            f"expected a coefficient {name!r} that the optimizer moves, came a tensor that it does not own: pass the "
            "tensor itself, not what is computed from it, and give it to the optimizer, as in "
            'optimizer.add_param_group({"params": [tensor]}); where another optimizer has it, attach that one with it'
        )
