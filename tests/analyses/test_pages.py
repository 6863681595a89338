"""The committed pages are those of the committed sections, and each says truly how it is run."""

import importlib
import re
import shutil

import pytest

# Folder -> its scales, as their pages are named.
SCALES = {
    "burda2016": ["cpu"], "conv": ["cpu"], "discrete2020": ["cpu"],
    "draw2015": ["cpu"],
    "hernandezlobato2016": ["cpu"], "mcharrak2021": ["cpu"], "reparameterisation": ["cpu"],
    "sentences2016": ["cpu"],
    "estimators": ["cpu"],
    "flows2015": ["cpu"],
    "peers": ["cpu"],
    "rainforth2018": ["cpu", "rainforth-longer"], "speed": ["cpu"], "toy": ["cpu"],
}  # fmt: skip


@pytest.mark.parametrize(("folder", "scale"), [(folder, scale) for folder, found in SCALES.items() for scale in found])
def test_a_page_is_made_of_its_sections_byte_for_byte(folder, scale, tmp_path):
    analysis = importlib.import_module(f"analyses.{folder}.run").ANALYSIS
    shutil.copytree(analysis.home / "results", tmp_path / "results")
    analysis.collect(tmp_path, scale)
    (page,) = tmp_path.glob("RESULTS*.md")
    assert page.read_bytes() == (analysis.home / page.name).read_bytes()
    commands = set(re.findall(r"python -m analyses\.\S+run", page.read_text()))
    assert commands == {analysis.command}
    sections = re.findall(rf"{analysis.command} (?:--settings \S+ )?(\w+)", page.read_text())
    assert set(sections) <= set(analysis.sections) | {"all"}
