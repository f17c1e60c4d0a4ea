"""The torch scripts of "Diagnose your own PINN" do what the page says, and the page says it of six scripts."""

import pytest

from dynamics import diagnose, open_trajectory
from tests.your_own_page import (
    MARK,
    SCRIPTS,
    SHOWN,
    TEXT,
    added,
    is_a_few_lines_that_change_nothing,
    is_what_diagnose_says,
    told,
)


def test_the_page_has_three_scripts_and_three_that_go_wrong():
    assert list(SCRIPTS) == ["torch", "deepxde", "pina", "torch_bad", "deepxde_bad", "pina_bad"]
    assert list(SHOWN) == list(SCRIPTS)
    assert all(0 < len(added(name)) < 15 for name in SCRIPTS) and MARK in TEXT
    assert all(not told(SHOWN[name]) for name in ("torch", "deepxde", "pina")), "nothing amiss in the good ones"


def test_torch(tmp_path_factory):
    folder, printed = is_a_few_lines_that_change_nothing("torch", tmp_path_factory, "model")
    # A median of ratios over 40 blocks, least within Adam's steps: a rate off by 1e-6 moves it by 4 %, other kernels by
    # 0.1 %.
    assert float(printed) == pytest.approx(0.0244, rel=0.3)
    with open_trajectory(folder / "torch.h5") as trajectory:
        assert all(finding.severity == "info" for finding in diagnose(trajectory))
        assert trajectory["evaluations/loss"].size > 100, "what L-BFGS tried within its one step"
        assert float(trajectory["series/rel_l2"].dropna("step")[-1]) < 1e-3


def test_torch_that_goes_wrong(tmp_path_factory, capsys, monkeypatch):
    folder, printed = is_a_few_lines_that_change_nothing("torch_bad", tmp_path_factory, "model")
    # The loss stays at that of u'' = 0: the mean of (100 sin(pi x))^2 over the 50 points.
    assert float(printed.split()[-3]) == pytest.approx(4900, rel=0.05)
    is_what_diagnose_says("torch_bad", folder, capsys, monkeypatch)
