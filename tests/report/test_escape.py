"""Hostile names in every format: nothing live, everything on one line, numbers as they are."""

import csv as csv_files
import html.parser
import io
import json
import re
import xml.etree.ElementTree as ET

import pytest

from snrkit.files import write_json
from snrkit.report import escape, style
from snrkit.report.collect import Tables, collect
from snrkit.report.figures import FIGURES
from snrkit.report.save import render
from snrkit.report.sheets import evaluation
from snrkit.report.tables import Cell, Column, sheet
from snrkit.runs.kinds.snr import SNR
from tests.support.results import all_frames, make_run
from tests.support.results import evaluation as evaluation_of

HOSTILE = [
    "a\n\\write18{rm -rf /}", '=HYPERLINK("http://x","y")', "<script>alert(1)</script>", "bell\x07 esc\x1b[31m nul\x00",
    "pipe | in\\| cell", "`code` *b* _i_ ~~s~~ [t](javascript:x) ![i](u)", "@SUM(1+1)", "+1+cmd|' /C calc'!A0", "-2+3",
    "$\\frac{1}{$ and $x^2$", "half \udcff", "line\u2028sep\u202eright", "_under", "--> ]]> &amp; &lt;", "100% #1 {x} ^ ~",
    "模型", "\ufffe", "# head", "1. item", "- item", "\t=1+1", "",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_every_format_is_one_line_that_can_be_written(text):
    for format_ in ("visible", "latex", "latex_comment", "markdown", "markdown_line", "csv", "mathtext"):
        safe = getattr(escape, format_)(text)
        assert len(safe.splitlines()) <= 1
        safe.encode()
        assert all(letter.isprintable() or letter == " " for letter in safe.replace("\u3000", " "))


def test_ordinary_texts_stay_as_they_are():
    for text in (
        "demo-vae",
        "IWAE, M = 1, K = 64",
        "log p̂(x): 5000-sample bound, nats",
        "test[0:300]",
        "demo_iwae",
        "−19.5 ± 0.1",
    ):
        assert escape.visible(text) == escape.markdown(text) == escape.markdown_line(text) == escape.csv(text) == text
    for number in ("-0.5", "+0.5", "-1e-3", "-0.1 0.25 -3", "1, 10, 100", "-84"):
        assert escape.csv(number) == number


def test_latex_has_no_live_command():
    for text in HOSTILE:
        rest = escape.latex(text)
        for command in (
            "textbackslash", "textasciitilde", "textasciicircum", "textbar", "textless", "textgreater", "textasciigrave",
            "textquotedbl",
        ):  # fmt: skip
            rest = rest.replace(rf"\{command}{{}}", "")
        rest = re.sub(r"\\[&%$#_{}]", "", rest)
        assert not set(rest) & set("\\&%$#_{}~^")


@pytest.mark.parametrize("text", HOSTILE)
def test_csv_cells_are_no_formulas_and_read_back(text):
    made = sheet(
        [Column("run", "run"), Column("n", "n", numbers=True)], [[Cell(text), Cell("-1.5", "0.2")]], "", [text]
    )
    ((_, value, error),) = list(csv_files.reader(io.StringIO(made.texts["csv"])))[1:]
    cell = list(csv_files.reader(io.StringIO(made.texts["csv"])))[1][0]
    assert (value, error) == ("-1.5", "0.2")
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert cell.removeprefix("'") == escape.visible(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_table_keeps_its_shape(text):
    cells = [[Cell(text), Cell("-1.5", "0.2", bold=True)]] * 2
    made = sheet([Column(text, text), Column("n", "n", numbers=True)], cells, "", [text, "note"])
    markdown = made.texts["md"].splitlines()
    assert len(markdown) == 4 + 1 + 2
    for line in markdown[:4]:
        # Bars that an even number of backslashes precedes end a cell.
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3
    assert "<" not in made.texts["md"]
    latex = made.texts["tex"].splitlines()
    assert len(latex) == 3 + 1 + 1 + 1 + 1 + 2 + 2
    assert all(line.startswith("%") for line in latex[:3])


class _Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)


def _with_names(text):
    """All frames with the text in place of every name that a user chooses."""
    frames = all_frames()
    for kind, frame in frames.items():
        texts = [
            name for name in ("run", "data", "options", "coordinate", "model", "rest", "trained_on") if name in frame
        ]
        if kind == "evaluations":
            texts = ["run", "model", "rest", "definition"]
        frames[kind] = frame.assign(**{name: text + frame[name].astype(str) for name in texts})
    return frames


@pytest.mark.rest_slow
@pytest.mark.parametrize(
    "name",
    [
        "histograms",
        "snr_vs_k",
        "latents",
        "active_units",
        "generalisation",
        "reconstructions",
        "samples",
        "interpolations",
        "canvases",
    ],
)
def test_figures_of_hostile_names_are_well_formed(name):
    look = style.COLUMNS["icml"]
    text = "$\\frac{1 \x1b[31m\x00 --> <script> \n _^{ $ "
    with style.context(look):
        drawing = FIGURES.load(name).draw(Tables({}, _with_names(text)), look)
        svg = render(drawing.figure, "svg", 50)
    ET.fromstring(svg)
    for words in (drawing.caption, drawing.alt, *drawing.notes):
        assert words.isprintable()


def test_names_in_letters_that_no_font_has_are_drawn_without_a_word():
    look = style.COLUMNS["icml"]
    with style.context(look):
        drawing = FIGURES.load("latents").draw(Tables({}, _with_names("模型 \U0001f9ff")), look)
        assert render(drawing.figure, "png", 50)


def test_a_legend_shows_names_that_begin_with_an_underscore():
    assert style.wrapped("_hidden", 20).lstrip("\N{ZERO WIDTH SPACE}") == "_hidden"
    assert not style.wrapped("_hidden", 20).startswith("_")
    assert len(style.wrapped("x" * 10_000, 50)) < 500


@pytest.mark.slow
def test_a_whole_report_of_a_hostile_run(tmp_path, run):
    name = 'x <script>alert("1")</script> | `c` $a^ \\b %'.replace("/", "-")
    files = make_run(tmp_path / "runs", name, "iwae", epochs=2)
    text = "=1+1\n\\write18{x} <img src=x onerror=y> \x07"
    content = evaluation_of(text)
    content["data"] = f"{text}:test[0:5]"
    content["rows"].append({"metric": f"m {text}", "value": 1.0, "stderr": 0.1, "definition": text})
    write_json(files.evaluation, content)
    SNR.write(files.snr, SNR.read(files.snr).assign(run=text, data=text, options=text, definition=text))
    out = tmp_path / "out"
    code, printed, err = run(tmp_path / "runs", "--out", out, "--html", "--figure", "snr_vs_k", "--json")
    assert code == 0, err
    json.loads(printed)
    for file in out.iterdir():
        if file.suffix in (".svg",):
            ET.fromstring(file.read_bytes())
        if file.suffix in (".md", ".tex", ".csv", ".html", ".json"):
            assert "\x07" not in file.read_text()
    page = _Tags()
    page.feed((out / "report.html").read_text())
    assert not page.tags & {"script", "img", "iframe"}
    tex = (out / "evaluation.tex").read_text()
    assert not [line for line in tex.splitlines() if line.startswith("\\write18")]
    for line in csv_files.reader(io.StringIO((out / "evaluation.csv").read_text())):
        assert not any(cell.startswith(("=", "@")) for cell in line)
    for line in csv_files.reader(io.StringIO((out / "snr_vs_k.csv").read_text())):
        assert not any(cell.startswith(("=", "@")) for cell in line)
    assert evaluation(collect([tmp_path / "runs"])).texts["md"].count("\n") == (
        out / "evaluation.md"
    ).read_text().count("\n")
