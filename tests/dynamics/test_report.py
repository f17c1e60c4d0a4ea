"""Reports: whole, self-contained, safe to open whatever the file says, and true to its numbers."""

import itertools
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import h5py
import matplotlib.pyplot
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from dynamics import detect_phases, open_trajectory
from dynamics.curves import curve, plain, thinned
from dynamics.plots import PHASE_COLORS, phase_spans, shade_phases
from dynamics.report import document, report_html, section_count
from dynamics.report.configured import configuration
from dynamics.report.course import below, told
from dynamics.report.domain import draw_field, last_field
from dynamics.report.facts import reached, summary
from dynamics.report.page import escaped
from dynamics.report.panels import draw_cosines
from dynamics.report.sections import SECTIONS
from dynamics.report.svg import RC, WIDTH, inline_svg

DATA = Path(__file__).parents[2] / "data"
EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(2)> $\\frac{ & \x00\x1b[31m </svg></style>"
VOID = {"meta", "wbr"}


class Page(HTMLParser):
    """A reader of HTML that knows nothing of how the page was made."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.open, self.texts, self.faults = [], [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data.strip()))

    def of(self, tag):
        return [attrs for name, attrs in self.attributes if name == tag]

    def inside(self, tag):
        return [text for name, text in self.texts if name == tag and text]


def full_tree(name=EVIL):
    """A run of 3000 steps with every stream there is, and a text of the caller's choice wherever text may stand."""
    step = np.unique(np.geomspace(1, 3000, 120).round())
    snr = np.select([step < 60, step < 900], [20.0, 0.03], 2.1)
    phi = np.where(step < 900, 0.75, 0.97)
    layer, term = [f"{name}{k}" for k in range(3)], [name, "_hidden"]
    rows = np.outer(1 / step, [1.0, 2.0, 3.0])
    per_layer = lambda scale=1.0: (("step", "layer"), scale * rows)  # noqa: E731
    pair = np.stack([1 / step, 0.1 / step], axis=1)
    gram = pair[:, :, None] * pair[:, None, :] * np.array([[1, -0.5], [-0.5, 1]])
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (500, 2))
    lr = {f"{what}_{when}": ("step", [2.0, 0.02]) for what in ("snr", "loss") for when in ("before", "after", "uncut")}
    lr |= {f"mean_norm_{when}": ("step", [1.0, 0.1]) for when in ("before", "after")}
    edge = {key: ("step", [5.0, 9.0]) for key in ("sharpness", "preconditioned_sharpness", "stability_limit")}
    shared = {"mean_norm_total": ("step", snr), "std_norm_total": ("step", np.ones_like(snr))}
    groups = {
        "series": xr.Dataset(
            {
                "loss": ("step", 1 / step),
                "loss_raw": (("step", "term"), pair),
                "rel_l2": ("step", 1 / step),
                "gradient_norm": ("step", 1 / step),
            },
            {"step": step.astype(int), "term": term},
        ),
        "gradients": xr.Dataset(
            {
                **shared,
                "mean_norm": per_layer(),
                "std_norm": per_layer(2.0),
                "term_mean_norm": (("step", "term"), pair),
                "term_gram": (("step", "term_row", "term_column"), gram),
            },
            {"step": step, "layer": layer, "term": term},
            {"blocks": 8, "block_size": 128, "points": 1024},
        ),
        "homogeneity": xr.Dataset(
            {
                "cell_mean": (("step", "quantity"), np.stack([phi, phi], axis=1)),
                "cell_rms": (("step", "quantity"), np.ones((len(step), 2))),
            },
            {"step": step, "quantity": ["attention", name]},
        ),
        "adam": xr.Dataset(
            {"correction": per_layer(), "correction_total": ("step", 1 / step)}, {"step": step, "layer": layer}
        ),
        "lr_cut": xr.Dataset({**lr, **edge}, {"step": [100, 2000]}),
        "residuals": xr.Dataset(
            {
                "residual": (("step", "point"), rng.standard_normal((3, 500))),
                "attention": (("step", "point"), rng.uniform(0.1, 1, (3, 500))),
            },
            {"step": [10, 100, 3000]},
        ),
        "points": xr.Dataset({"interior": (("interior_point", "axis"), points)}, {"axis": [name, "t"]}),
        "compression": xr.Dataset(
            {key: per_layer(0.1) for key in ("saturation", "row_entropy", "neuron_entropy", "extreme")},
            {"step": step, "layer": layer},
            {"points": 500, "bins": 30},
        ),
        "spectra": xr.Dataset(
            {
                "singular_value": (("step", "index"), [[2.0, 1.0, 1e-17], [3.0, 1.0, 1e-17]]),
                "floor": ("step", [1e-15, 1e-15]),
            },
            {"step": [10, 3000]},
            {"matrix": name},
        ),
        "coefficients": xr.Dataset(
            {"value": (("step", "coefficient"), np.stack([0.1 + 0.4 / step, 2 + 0 * step], axis=1))},
            {"step": step, "coefficient": [name, "k"]},
        ),
        "strange<b>": xr.Dataset({"x": ("step", [1.0])}, {"step": [0]}),
    }
    tree = xr.DataTree.from_dict(groups)
    coefficient = {"start": 0.5, "low": 0.0, "high": 3.0, "how": name, "exact": 0.1}
    told = {name: name, "standard_error": {name: 1e-3}}
    problem = {"name": name, "settings": told, "coefficients": {name: coefficient, "k": name}}
    settings = {"problem": problem, "operator": name, name: {name: [name]}}
    settings |= {"case": {"title": name, "optimizer": {"name": name, name: 1}}, "network": {"name": name}}
    told = dict.fromkeys(("dtype", "device", "seed", "created", "git_commit", "format", "format_version"), name)
    tree.attrs |= {"config": settings, "status": name, "stop_reason": name, "versions": {name: name}, **told}
    return tree


@pytest.fixture(scope="module")
def hostile():
    return report_html(full_tree(), EVIL)


@pytest.fixture(scope="module")
def sample():
    with open_trajectory(DATA / "helmholtz-rba.h5") as tree:
        return report_html(tree, "helmholtz-rba.h5")


@pytest.fixture(scope="module")
def solve():
    with open_trajectory(DATA / "poisson-fd.h5") as tree:
        return report_html(tree, "poisson-fd.h5")


@pytest.fixture(params=["hostile", "sample", "solve"])
def html(request):
    return request.getfixturevalue(request.param)


def test_the_page_is_whole_and_accessible(html):
    page = Page(html)
    assert not page.faults and not page.open
    assert page.tags.count("h1") == 1 and page.of("html") == [{"lang": "en"}] and page.of("title") == [{}]
    assert all(attrs.get("scope") in ("col", "row", "rowgroup") for attrs in page.of("th"))
    assert all(attrs.get("role") == "img" and len(attrs["aria-label"]) > 20 for attrs in page.of("svg"))
    assert page.tags.count("svg") == page.tags.count("figcaption") > 2
    assert page.tags.count("table") == page.tags.count("caption") > 1


def test_identifiers_are_unique_and_every_reference_inside_the_page_meets_one(html):
    page = Page(html)
    ids = [attrs["id"] for _, attrs in page.attributes if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs[key] for _, attrs in page.attributes for key in ("href", "xlink:href") if key in attrs]
    local = [link[1:] for link in links if link.startswith("#")] + re.findall(r"url\(#([^)]*)\)", html)
    assert len(local) > 20 and set(local) <= set(ids)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)


def test_nothing_is_fetched_and_nothing_runs(html):
    page = Page(html)
    assert not {"script", "link", "iframe", "img", "object", "embed", "base", "form"} & set(page.tags)
    keys = {key for _, attrs in page.attributes for key in attrs}
    assert not any(key.startswith("on") for key in keys) and "src" not in keys
    assert "http://" not in html and "https://" not in html and "@import" not in html
    assert {"http-equiv": "Content-Security-Policy", "content": document_policy(page)} in page.of("meta")
    assert document_policy(page).startswith("default-src 'none'") and "script" not in document_policy(page)


def document_policy(page):
    return next(attrs["content"] for attrs in page.of("meta") if "http-equiv" in attrs)


def test_hostile_text_stands_there_as_text(hostile):
    page = Page(hostile)
    shown = [text for _, text in page.texts if "<script>alert(1)</script>" in text]
    assert len(shown) > 20
    assert "<script>alert(1)</script>" in page.inside("h1")[0]
    assert any("<script>" in text for text in page.inside("text")), "legends keep the layers' names"
    assert "\x00" not in hostile and "\x1b" not in hostile
    assert "alert(2)" not in "".join(
        value or "" for _, attrs in page.attributes for key, value in attrs.items() if key != "aria-label"
    )


def test_every_section_is_made_from_a_full_file(hostile):
    page = Page(hostile)
    ids = [attrs.get("id") for attrs in page.of("h2")]
    assert ids[:3] == ["findings", "phases", "numbers"] and ids[-2:] == ["configuration", "made"]
    assert ids[3:-2] == [section.name for section in SECTIONS]
    assert [attrs["href"] for attrs in page.of("a")] == [f"#{name}" for name in ids]


def test_missing_streams_are_named_with_what_would_record_them(sample, solve):
    training, single = Page(sample), Page(solve)
    told = [text for text in training.inside("li") if "not recorded" in text]
    assert [text.split(":")[0] for text in told] == ["A cut of the learning rate", "Singular spectra"]
    assert "lr_cut" in told[0] and "jacobian_spectrum" in told[1]
    left_out = [text.split(":")[0] for text in single.inside("li") if "not recorded" in text]
    assert {"Adam's learning-rate correction", "Compression of the layers"} <= set(left_out)
    assert "spectra" in [attrs.get("id") for attrs in single.of("h2")]
    assert any("a single solve has no course" in text for text in single.inside("li"))


def test_the_sample_is_small_and_says_what_the_file_says(sample):
    assert len(sample.encode()) < 1.5e6
    page = Page(sample)
    assert page.inside("h1") == ["Helmholtz (2, 2) with residual-based attention"]
    with h5py.File(DATA / "helmholtz-rba.h5") as file:
        loss, error = file["series/loss"][:], file["series/rel_l2"][:]
        raw = file["series/loss_raw"][:, 0]
    cells = page.inside("td")
    for values in (loss, raw, error):
        known = np.flatnonzero(np.isfinite(values))
        assert f"{values[known[-1]]:.2e} ({known[-1]})" in cells
        least = known[np.argmin(values[known])]
        assert f"{values[least]:.2e} ({least})" in cells
    assert "3,297 parameters" in sample and "1024 interior, 256 boundary" in sample


def test_phases_are_those_of_the_analyzer(sample):
    with open_trajectory(DATA / "helmholtz-rba.h5") as tree:
        found = detect_phases(tree)
    cells = Page(sample).inside("td")
    seen = found.isel(phase=np.isfinite(found.onset.values))
    for phase in seen.phase.values:
        assert f"{found.onset.sel(phase=phase).item():.0f}" in cells
        assert PHASE_COLORS[str(phase)] in sample
    total = found.sel(phase="total_diffusion")
    low, high = (total[key].item() for key in ("onset_low", "onset_high"))
    if np.isfinite([low, high]).all():
        assert f"{low:.0f} to {high:.0f}" in cells and f"its interval, {low:.0f} to {high:.0f}" in sample
    assert sample.count(f"onset of total diffusion, {total.onset.item():.0f}") == 2


def test_findings_come_first_with_their_advice_whatever_their_severity(monkeypatch):
    made = [("problem", "p < 1", "mend <it>"), ('odd"><b>', "unheard of", "")]
    found = [SimpleNamespace(severity=s, name="a_name", message=m, advice=a) for s, m, a in made]
    monkeypatch.setattr(document, "diagnose", lambda tree: found)
    html = report_html(xr.DataTree())
    page = Page(html)
    assert page.inside("span") == ["problem: a name.", 'odd"><b>: a name.']
    assert "p < 1" in page.inside("p") and page.tags.count("b") == 1 and "mend <it>" in page.inside("p")
    assert html.index("a name") < html.index("How it was made")


def test_the_same_run_gives_the_same_bytes():
    series = xr.Dataset({"loss": ("step", [3.0, 1.0, 2.0])}, {"step": [0, 1, 2]})
    first, second = (report_html(xr.DataTree.from_dict({"series": series}), "a.h5") for _ in range(2))
    assert first == second


def test_begin_is_told_of_every_section():
    heard = []
    report_html(xr.DataTree(), begin=heard.append)
    assert len(heard) == section_count() == 1 + len(SECTIONS) and heard[0] == "findings"


def nothing_but(**columns):
    return {"series": xr.Dataset({name: ("step", np.asarray(v, float)) for name, v in columns.items()})}


SUBJECTS = {
    "one row": ["series", "gradients", "homogeneity", "residuals", "points", "spectra"],
    "one layer": ["gradients", "adam"],
    "no labels": ["series"],
    "other points": ["residuals", "points", "lr_cut"],
}


def degenerate(kind):
    tree = full_tree("n")
    groups = {name: tree[name].to_dataset() for name in SUBJECTS.get(kind, tree.children)}
    if kind == "not a number":
        groups = {name: group.map(lambda v: v * np.nan if v.dtype.kind == "f" else v) for name, group in groups.items()}
    if kind == "zero":
        groups = {name: group.map(lambda v: v * 0 if v.dtype.kind == "f" else v) for name, group in groups.items()}
    cut = {"one row": ("step", 1), "no rows": ("step", 0), "one layer": ("layer", 1)}
    if kind in cut:
        dim, count = cut[kind]
        groups = {name: group.head({dim: count}) if dim in group.dims else group for name, group in groups.items()}
    if kind == "no labels":
        groups = {name: group.drop_vars(list(group.coords)) for name, group in groups.items()}
    if kind == "other points":
        groups["points"] = groups["points"].isel(interior_point=slice(0, 9))
    if kind == "diverged":
        groups = nothing_but(loss=[1.0, 2.0, np.inf, np.nan])
    if kind == "empty":
        groups = {}
    return xr.DataTree.from_dict(groups)


@pytest.mark.parametrize(
    "kind",
    ["not a number", "zero", "one row", "no rows", "one layer", "no labels", "other points", "diverged", "empty"],
)
def test_degenerate_files_have_a_report(kind, monkeypatch):
    page = Page(report_html(degenerate(kind)))
    assert not page.faults and "findings" in [attrs.get("id") for attrs in page.of("h2")]
    missing = " ".join(page.inside("li"))
    if kind in ("not a number", "no rows", "empty"):
        told = [made for made in SECTIONS if made.record]
        assert page.tags.count("svg") == 0 and missing.count("not recorded") == len(told)
    if kind == "other points":
        assert "expected a residual for each of the 9 interior points, got 500" in missing
    if kind == "diverged":
        assert any("not finite from step 2" in text for text in page.inside("p"))


def test_thinned_keeps_every_extreme_and_what_is_few():
    rng = np.random.default_rng(1)
    step = np.arange(1, 40001, dtype=float)
    values = rng.lognormal(0, 2, step.size)
    values[[5, 777, 30000]] = np.nan, 1e9, np.inf
    rows = thinned(step, values, columns=100)
    assert len(rows) <= 300 and (np.diff(rows) > 0).all() and np.isfinite(values[rows]).all() and 776 < 777 in rows
    edges = np.geomspace(1, 40000, 101)
    for low, high in itertools.pairwise(edges):
        inside = (step > low * (1 + 1e-9)) & (step < high * (1 - 1e-9)) & np.isfinite(values)
        kept = rows[(step[rows] >= low * (1 - 1e-9)) & (step[rows] <= high * (1 + 1e-9))]
        if inside.any():
            assert values[kept].max() >= values[inside].max() and values[kept].min() <= values[inside].min()
    assert rows[0] == 0 and thinned([1, 2, 3], [1.0, np.nan, 2.0]).tolist() == [0, 2]
    assert thinned([5.0] * 5000, np.arange(5000.0)).tolist() == [0, 4999]
    with pytest.raises(ValueError, match="expected as many steps as values"):
        thinned([1, 2], [1.0])


def test_a_curve_in_the_page_is_the_curve_of_the_data():
    figure = Figure(figsize=(WIDTH, 2), dpi=72)
    axis = figure.subplots()
    step, values = np.geomspace(1, 1000, 40), np.cos(np.arange(40.0))
    curve(axis, step, values, gid="curve", marker="")
    axis.set_xscale("log")
    expected = axis.transData.transform(np.stack([step, values], axis=1))
    drawn = inline_svg(figure, "f", "a curve")
    path = re.search(r'id="f-curve">\s*<path d="([^"]*)"', drawn).group(1)
    found = np.array(re.findall(r"[ML] (\S+) (\S+)", path), float)
    assert path.count("L") == 39 and found.shape == (40, 2)
    height = float(re.search(r'viewBox="0 0 \S+ ([^"]+)"', drawn).group(1))
    assert np.abs(found[:, 0] - expected[:, 0]).max() < 0.011
    assert np.abs(height - found[:, 1] - expected[:, 1]).max() < 0.011


def onsets(high=400.0, end=1000):
    columns = {
        "onset": ("phase", [0.0, 20.0, 300.0, np.nan]),
        "onset_low": ("phase", [0.0, 15.0, 200.0, np.nan]),
        "onset_high": ("phase", [0.0, 30.0, high, np.nan]),
    }
    return xr.Dataset(columns, {"phase": list(PHASE_COLORS), "step": np.arange(end)})


@pytest.mark.parametrize("high", [400.0, np.inf])
def test_phases_are_shaded_from_onset_to_onset_with_the_interval(high):
    found = onsets(high)
    assert phase_spans(found) == [("fitting", 0.7, 20.0), ("diffusion", 20.0, 300.0), ("total_diffusion", 300.0, 999.0)]
    axis = Figure().subplots()
    axis.plot([0.7, 999], [1, 1])
    shade_phases(axis, found, interval=True)
    spans = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axis.patches]
    assert np.allclose(spans, [(0.7, 20), (20, 300), (300, 999), (200, min(high, 999))])
    assert [text.get_text() for text in axis.texts] == ["fitting", "diffusion", "total diffusion"]
    assert axis.lines[-1].get_xdata()[0] == 300
    assert axis.get_legend_handles_labels()[1][-1] == (
        "its interval, 200 to 400" if high < 999 else "its interval, 200 or later"
    )


def test_names_of_phases_stay_on_the_panel_and_apart():
    for left, width in ((0.7, 4.8), (100, 4.8), (0.7, 2.0), (0.7, 9.0)):
        figure = Figure(figsize=(width, 2), dpi=72)
        axis = figure.subplots()
        axis.set_xscale("log")
        axis.plot([left, 999], [1, 1])
        shade_phases(axis, onsets())
        figure.draw_without_rendering()
        boxes = sorted((text.get_window_extent() for text in axis.texts), key=lambda box: box.x0)
        assert boxes and boxes[-1].x1 <= figure.bbox.x1
        assert all(first.x1 < second.x0 for first, second in itertools.pairwise(boxes))


def test_no_phases_no_shading():
    axis = Figure().subplots()
    shade_phases(axis, None, interval=True)
    assert not axis.patches and not axis.texts and phase_spans(None) == []


def test_cosines_are_drawn_of_each_pair_of_terms():
    gradients = np.random.default_rng(2).standard_normal((4, 3, 50))
    gradients[1, 2] = 0
    gram = np.einsum("sap,sbp->sab", gradients, gradients)
    axis = Figure().subplots()
    data = xr.DataArray(gram, {"step": [0, 10, 20, 30]}, ("step", "term_row", "term_column"))
    draw_cosines(axis, data, ["a", "b", "c"])
    drawn = {line.get_label(): line.get_xydata() for line in axis.lines}
    assert list(drawn) == ["a and b", "a and c", "b and c", "at right angles"]
    for (a, b), label in zip(((0, 1), (0, 2), (1, 2)), drawn, strict=False):
        rows = [row for row in range(4) if b != 2 or row != 1]
        expected = [
            gradients[row, a]
            @ gradients[row, b]
            / np.linalg.norm(gradients[row, a])
            / np.linalg.norm(gradients[row, b])
            for row in rows
        ]
        assert drawn[label][:, 0].tolist() == [max(10 * row, 0.7) for row in rows]
        assert drawn[label][:, 1] == pytest.approx(expected, rel=1e-12)


def field_tree(dimensions, residual, attention=None):
    points = np.random.default_rng(3).uniform(-1, 1, (len(residual[0]), dimensions))
    group = xr.Dataset({"residual": (("step", "point"), residual)}, {"step": np.arange(len(residual)) * 10})
    if attention is not None:
        group["attention"] = (("step", "point"), attention)
    interior = xr.Dataset({"interior": (("interior_point", "axis"), points)}, {"axis": list("xyt")[:dimensions]})
    return xr.DataTree.from_dict({"residuals": group, "points": interior})


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_the_last_finite_residual_is_drawn_with_its_labels(dimensions):
    rows = np.arange(-3.0, 13.0).reshape(4, 4) * [1, -1, 1, -1]
    rows[3, 0] = np.nan
    field = last_field(field_tree(dimensions, rows, np.full((4, 4), 0.5)))
    assert field.step == 20 and field.residual.tolist() == [5, 6, 7, 8] and field.attention.tolist() == [0.5] * 4
    figure = Figure()
    draw_field(figure, field)
    labels = [axis.get_ylabel() or axis.get_xlabel() for axis in figure.axes]
    if dimensions == 1:
        assert labels == ["|residual| [1]", "attention weight [1]"]
        drawn = figure.axes[0].lines[0]
        order = np.argsort(field.points[:, 0])
        assert drawn.get_ydata().tolist() == field.residual[order].tolist()
    else:
        assert labels == ["y [1]", "y [1]", "|residual| [1]", "attention weight [1]"]
        drawn = figure.axes[0].collections[0]
        assert drawn.get_array().tolist() == pytest.approx([5.03, 6, 7, 8], rel=0.01)
        assert np.allclose(drawn.get_offsets(), field.points[:, :2])


def test_a_field_of_zeros_and_many_points_is_drawn_as_an_image():
    for residual in (np.zeros((1, 500)), np.ones((1, 500))):
        figure = Figure()
        draw_field(figure, last_field(field_tree(2, residual)))
        figure.draw_without_rendering()
        assert figure.axes[0].collections[0].get_rasterized()
    with pytest.raises(ValueError, match="expected finite residuals"):
        last_field(field_tree(2, np.full((1, 5), np.nan)))


def test_text_from_files_starts_no_formula_and_hides_no_label():
    axis = matplotlib.pyplot.figure().subplots()
    try:
        for text in (r"$\frac{", "_hidden", "a\nb", b"bytes", "x" * 99):
            axis.plot([1, 2], label=plain(text))
        legend = axis.legend()
        axis.figure.canvas.draw()
        assert [t.get_text() for t in legend.get_texts()] == [
            r"\$\frac{",
            " _hidden",
            "a b",
            "bytes",
            "x" * 47 + "…",
        ]
    finally:
        matplotlib.pyplot.close(axis.figure)


def test_facts_are_taken_from_the_configuration_and_bad_ones_are_left_out():
    bad = {"network": {"name": "N", "parameters": {"w": "many"}}, "points": {"interior": "all"}, "optimizer": None}
    tree = xr.DataTree(xr.Dataset(attrs={"config": bad, "status": b"failed", "stop_reason": "out of memory"}))
    told = summary(tree)
    assert told["Network"] == "N" and told["Points"] == "" and told["Status"] == "failed: out of memory"
    for config in ("{", "[1]", "null", b"\xff", 3):
        assert configuration(xr.DataTree(xr.Dataset(attrs={"config": config}))) == {}
    many = configuration(
        xr.DataTree(xr.Dataset(attrs={"config": {"a": {str(k): k for k in range(999)}, "b": {"c": 1}}}))
    )
    assert len(many["a"]) == 400 and "b" not in many and "400" in many["run"]["..."]


def test_an_error_at_the_floor_of_its_reference_is_given_as_the_floor():
    series = xr.Dataset({"rel_l2": ("step", [1e-3, 2e-6, np.nan])}, {"step": [0, 5, 9]})
    tree = xr.DataTree.from_dict({"series": series})
    tree.attrs["config"] = {"problem": {"solution_floor": 1e-6}}
    assert reached(tree) == [("relative L2 error", "<= 1.0e-06, the reference's floor (5)", "")]
    tree.attrs["config"] = {"problem": {"solution_floor": 1e-7}}
    assert reached(tree) == [("relative L2 error", "2.00e-06 (5)", "2.00e-06 (5)")]
    tree["series/rel_l2"][:] = [2e-8, 2e-6, np.nan]
    assert reached(tree) == [("relative L2 error", "2.00e-06 (5)", "<= 1.0e-07 (0)")]


def test_words_for_a_curve():
    values = xr.DataArray([np.nan, 4.0, 0.5, 2.0, np.inf], {"step": [0, 1, 2, 3, 4]}, "step")
    assert told("x", values) == "x from 4 at step 1 to 2 at step 3, between 5.00e-01 and 4"
    assert told("x", values[:1]) == "x: no finite value" and told("x", values[:2]) == "x 4 at step 1"


def test_escaping_reaches_every_sign():
    assert escaped("<>&\"'\x07\n") == "&lt;&gt;&amp;&quot;&#x27; \n"
    assert len(escaped("x" * 5000)) == 2000


@pytest.mark.parametrize(("letters", "columns"), [(5, 2), (27, 2), (29, 1), (55, 1)])
def test_legends_stay_on_the_figure(letters, columns):
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH, 3), layout="constrained")
        axis = figure.subplots()
        for letter in "nuoe":
            axis.plot([1, 2], label=letter * letters)
        below(figure, axis)
        figure.draw_without_rendering()
        box = figure.legends[0].get_window_extent()
        lefts = {round(text.get_window_extent().x0) for text in figure.legends[0].get_texts()}
    assert box.x1 <= figure.bbox.x1 and len(lefts) == columns
    assert box.y1 < axis.get_window_extent().y0


def test_a_long_legend_does_not_press_the_panel():
    heights = []
    for lines in (2, 12):
        with matplotlib.rc_context(RC):
            figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
            axis = figure.subplots()
            for index in range(lines):
                axis.plot([1, 2], label=f"{index}.weight")
            below(figure, axis)
            figure.draw_without_rendering()
        heights.append(axis.get_window_extent().height)
    assert heights[1] > 0.8 * heights[0]


def test_the_error_of_the_discretisation_alone_stands_below_what_was_reached():
    tree = xr.DataTree.from_dict({"series": xr.Dataset({"rel_l2": ("step", [1e-2, 3e-6])}, {"step": [0, 5]})})
    assert len(reached(tree)) == 1
    tree.attrs["config"] = {"discretisation": {"rel_l2": 4.9e-6}}
    assert reached(tree)[-1] == ("relative L2 error of the discretisation alone", "4.90e-06", "")
    tree.attrs["config"] |= {"problem": {"solution_floor": 2e-6}}
    assert reached(tree)[-1][1] == "<= 2.0e-06, the reference's floor"
