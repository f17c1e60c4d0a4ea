"""Files in common use, told by their bytes, and the scores that were published on them."""

from __future__ import annotations

from dataclasses import dataclass

RAISSI = "Raissi burgers"
DEEPXDE_BURGERS = "DeepXDE Burgers"
JAXPI_BURGERS = "jaxpi burgers"
JAXPI_ALLEN_CAHN = "jaxpi allen_cahn"
JAXPI_KDV = "jaxpi kdv"
RBA_ALLEN_CAHN = "RBA AC"
DEEPXDE_ALLEN_CAHN = "DeepXDE Allen_Cahn"

KNOWN = {
    "f4d11e6798b8d29b6829984952b04adcc470d9bf70dd7e56c7985cd8e316c4bf": RAISSI,
    "e9d57a5824cd54b8345ac0c7390dad93ccb1bebec85d4f9d71f5407c99874315": DEEPXDE_BURGERS,
    "3a7aeab6691f6533699101160c3d15226c027124bc70dd6e49de9a509439e6ac": JAXPI_BURGERS,
    "ce640f188e334520f636d3d650cae6056a92a486546d40889bff93610bdbfa71": JAXPI_ALLEN_CAHN,
    "0df03aee69597c8913f7120324303f663db617be3789b9ff35beb29303b1c087": JAXPI_KDV,
    "266e97eedd9ef543d7f6d370fa5f06388761aa7da2b97e476562dcf1d644a175": RBA_ALLEN_CAHN,
    "f9175685675685ab8d2a850f0d212d16c709f55ed89b8fe078493ddcd3724aa0": DEEPXDE_ALLEN_CAHN,
}
"""sha256 -> what a file is."""

READ, SECOND_HAND = "read", "second-hand"


@dataclass(frozen=True)
class Score:
    """A published relative L2 error.

    Args:
        file: that it was scored on, a value of `KNOWN`.
        value: as published.
        method: in a few words.
        source: paper or page.
        how: whether we read the source, or a table of somebody else that quotes it.
        scored: whether it is known that it was scored on this file.
    """

    file: str
    value: float
    method: str
    source: str
    how: str
    scored: bool


SCORES = (
    Score(JAXPI_BURGERS, 8.20e-5, "PirateNet, Adam", "arXiv 2402.00326", SECOND_HAND, True),
    Score(JAXPI_BURGERS, 4.03e-5, "PirateNet, SOAP", "arXiv 2502.00604", SECOND_HAND, True),
    Score(JAXPI_BURGERS, 4.0e-5, 'three networks, "saturated"', "jaxpi2 documentation", READ, True),
    Score(JAXPI_ALLEN_CAHN, 5.37e-5, "modified MLP, Adam", "jaxpi README", READ, True),
    Score(JAXPI_ALLEN_CAHN, 2.24e-5, "PirateNet, Adam", "arXiv 2402.00326", SECOND_HAND, True),
    Score(JAXPI_ALLEN_CAHN, 4.0e-6, "PirateNet, SOAP", "jaxpi2 documentation", READ, True),
    Score(JAXPI_ALLEN_CAHN, 3.48e-6, "PirateNet, SOAP", "arXiv 2502.00604", SECOND_HAND, True),
    Score(RBA_ALLEN_CAHN, 5.47e-5, "modified MLP, RBA", "arXiv 2307.00379, notebook", READ, True),
    Score(RBA_ALLEN_CAHN, 1.88e-6, "vRBA, SSBroyden", "arXiv 2509.14198", SECOND_HAND, False),
)
