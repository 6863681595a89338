"""Losses in figures and tables: drawn where the columns are there, else refused or left out in words."""

import pandas as pd
import pytest
import torch

import snrkit
from snrkit.errors import SpecError
from snrkit.models.gaussian import Gaussian
from snrkit.report import style
from snrkit.report.collect import Tables
from snrkit.report.figures import FIGURES
from snrkit.report.gradients import gradients
from snrkit.report.style import COLUMNS
from tests.support.results import table


class Agent(torch.nn.Module):
    """A policy and its baseline."""

    def __init__(self):
        super().__init__()
        self.actor, self.critic = torch.nn.Linear(4, 3), torch.nn.Linear(4, 1)


def loss(agent, batch):
    states, rewards = batch
    actions = torch.distributions.Categorical(logits=agent.actor(states))
    taken, values = actions.sample(), agent.critic(states)[:, 0]
    found = rewards.gather(1, taken[:, None])[:, 0] - values
    return (found**2).mean() - (actions.log_prob(taken) * found.detach()).mean()


@pytest.fixture(scope="module")
def agent():
    torch.manual_seed(0)
    return Agent()


@pytest.fixture(scope="module")
def batch():
    torch.manual_seed(1)
    return torch.randn(64, 4), torch.randn(64, 3)


@pytest.fixture(scope="module")
def measured(agent, batch):
    return snrkit.measure_loss({"plain": loss, "again": loss}, agent, batch, draws=60, M=[1, 4, 16])


def titles(panels):
    return [place.get_title() for place in panels]


def lines(drawing, block):
    return drawing.data[drawing.data["block"] == block]


def test_snr_of_losses_goes_as_the_root_of_m(measured):
    panels = snrkit.plot.snr_vs_m(measured)
    assert titles(panels) == ["actor", "critic", "all parameters"]
    own = panels.data.query("block == 'actor' and estimator == 'plain'").set_index("M")["value"]
    assert own[16] / own[1] == pytest.approx(4, rel=1e-6)
    assert panels[0].get_xlabel() == "repetitions M"
    assert "independent repetitions" in panels.caption


def test_a_loss_read_at_one_m_says_what_reads_it_at_more(measured):
    with pytest.raises(
        SpecError, match=r"was read at M = 1 alone, of losses; 'snrkit.measure_loss\(loss, model, batch, M="
    ):
        snrkit.plot.snr_vs_m(measured[measured["M"] == 1])


def test_the_parts_of_the_noise_of_a_loss(agent, batch):
    def drawn():
        chosen = torch.randint(64, (8,))
        return batch[0][chosen], batch[1][chosen]

    rows = snrkit.measure_loss(loss, agent, drawn, draws=200)
    panels = snrkit.plot.noise_parts(rows)
    assert titles(panels) == ["actor", "critic", "all parameters"]
    whole = rows.query("block == 'all' and scope == 'dataset'").set_index("metric")["value"]
    shown = panels.data.query("block == 'all'").set_index("metric")["value"]
    assert shown.to_dict() == {name: whole[name] for name in ("data_variance", "monte_carlo_variance")}
    assert "over batches" in panels.caption
    assert panels[0].get_ylabel() == "variance"
    assert [label.get_text() for label in panels[0].get_xticklabels()] == ["data", "Monte Carlo"]


def test_parts_that_were_not_measured_say_what_measures_them(measured):
    with pytest.raises(
        SpecError, match=r"parts of the noise were not measured; 'snrkit.measure_loss\(loss, model, draw_batch"
    ):
        snrkit.plot.noise_parts(measured)


def test_losses_have_no_k(measured):
    with pytest.raises(SpecError, match="no usable snr_mean of a network against K"):
        snrkit.plot.snr_vs_k(measured)
    torch.manual_seed(0)
    x = torch.randn(5, 3)
    networks = snrkit.measure(Gaussian.optimum(x.mean(0)), x, "iwae", K=[1, 8], draws=40)
    both = pd.concat([networks, measured.assign(run="agent")], ignore_index=True)
    panels = snrkit.plot.snr_vs_k(both)
    assert panels.notes[-1] == "plain, again: no readings of networks, as of losses, and so none against K"


def along(frame, steps):
    return pd.concat([frame.assign(step=step) for step in steps], ignore_index=True)


def test_losses_and_networks_along_training_are_both_drawn(measured):
    networks = along(table("vae-run", ["iwae"], (8,)).query("metric == 'snr_mean'"), (10, 20))
    own = along(measured[measured["M"] == 1].assign(run="agent"), (100, 200))
    panels = snrkit.plot.snr_training(pd.concat([networks, own], ignore_index=True))
    assert titles(panels) == ["inference network (φ)", "generative network (θ)", "actor", "all parameters"]
    assert panels.notes == ("of the groups of parameters actor alone are drawn; choose rows to see others",)
    assert set(lines(panels, "actor")["estimator"]) == {"plain", "again"}
    assert set(lines(panels, "inference")["estimator"]) == {"iwae"}


def test_two_runs_in_one_table_are_two_lines_along_training():
    frame = along(table("first", ["iwae"], (8,)), (10, 20))
    panels = snrkit.plot.snr_training(pd.concat([frame, frame.assign(run="second")], ignore_index=True))
    assert panels.data["line"].nunique() == 2


def test_epochs_and_steps_are_no_one_axis():
    known = along(table("known", ["iwae"], (8,)), (15, 30)).assign(source="known/snr.parquet", setting="known")
    other = along(table("other", ["vae"], (8,)), (100, 200)).assign(source="other.parquet", setting="other")
    metrics = pd.DataFrame({"setting": "known", "step": [15, 30], "epoch": [1, 2]})
    with style.context(COLUMNS["icml"]):
        both, alone = (
            FIGURES.load("snr_training").draw(Tables({}, {"snr": frame, "metrics": metrics}), COLUMNS["icml"])
            for frame in (pd.concat([known, other], ignore_index=True), known)
        )
    assert set(both.data["at"]) == {15, 30, 100, 200}
    assert set(alone.data["at"]) == {1, 2}


def test_the_table_of_gradients_has_losses_too(measured):
    sheet = gradients(Tables({}, {"snr": measured.assign(run="agent")}))
    place = sheet.head.index("network or group")
    assert [row[place] for row in sheet.rows] == ["actor", "critic", "all"]
    assert sheet.rows[0][0] == "again = plain" or sheet.rows[0][0] == "plain = again"


def test_a_multiple_of_a_loss_is_another_gradient(measured):
    parts = ["value", "stderr", "ci_low", "ci_high"]
    half = measured.query("estimator == 'again'").copy()
    half.loc[half["metric"] == "variance", parts] /= 4
    rows = pd.concat([measured.query("estimator == 'plain'"), half], ignore_index=True)
    sheet = gradients(Tables({}, {"snr": rows.assign(run="agent")}))
    assert {row[0] for row in sheet.rows} == {"again", "plain"}
    assert "variance" not in sheet.texts["csv"]


def test_a_report_of_losses(measured, tmp_path):
    made = snrkit.report({"agent": measured}, tmp_path, figures=["snr_vs_m"], page=False)
    assert {"snr_vs_m.pdf", "gradients.csv"} <= {path.name for path in made.files}
