"""The stand-in for Worker on pages that are opened as files, in a real browser."""

import pytest

from tests.docs.pages import ROOT
from tests.report.browser import browser, missing

SHIM = ROOT / "docs" / "assets" / "iframe-worker.js"
INSIDE = """
let sum = 0;
addEventListener("message", async ({ data }) => {
  if (data.places) await importScripts(...data.places);
  sum += data.add;
  postMessage({ sum, order: self.order, data, outside: window === parent });
});
"""
ASK = """
const worker = new Worker("inside.js"), heard = [], own = [], wrong = [];
worker.addEventListener("message", ({ data }) => heard.push(data));
worker.addEventListener("error", ({ message }) => wrong.push(message));
worker.onmessage = ({ data }) => own.push(data);
const sent = { add: 1, places: ["first.js", "second.js"], list: [1] };
const until = async (done) => { for (let i = 0; i < 400 && !done(); i++) await new Promise((go) => setTimeout(go, 25)); };
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "inside.js").write_text(INSIDE)
    (folder / "first.js").write_text("self.order = ['first'];")
    (folder / "second.js").write_text("self.order.push('second');")
    (folder / "page.html").write_text(f"<!doctype html><head><script>{SHIM.read_text()}</script></head><body></body>")
    return folder / "page.html"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    if missing():
        pytest.skip(missing())
    with browser(tmp_path_factory.mktemp("profile")) as session:
        yield session


def ask(chromium, page, script):
    chromium.open(page)
    return chromium.run(f"return (async () => {{ {ASK} {script} }})()")


def test_messages_reach_the_script_in_order_as_copies_and_so_do_its_answers(chromium, page):
    heard, own, frames = ask(
        chromium,
        page,
        "worker.postMessage(sent); sent.list.push(2); await until(() => heard.length);"
        "worker.postMessage({ add: 10 }); worker.postMessage({ add: 100 }); await until(() => heard.length > 2);"
        "return [heard, own, [...document.querySelectorAll('iframe')].map((frame) => frame.hidden)]",
    )
    assert [one["sum"] for one in heard] == [1, 11, 111]
    assert heard[0]["order"] == ["first", "second"]
    assert heard[0]["data"]["list"] == [1]
    assert not heard[0]["outside"]
    assert own == heard
    assert frames == [True]


def test_errors_of_the_script_are_heard(chromium, page):
    script = "worker.postMessage({ add: 1, places: ['absent.js'] });"
    script += "await until(() => wrong.length); return wrong"
    assert "absent.js cannot be loaded" in " ".join(ask(chromium, page, script))
    absent = "const none = new Worker('none.js'); none.onerror = ({ message }) => wrong.push(message);"
    absent += "none.postMessage(1); await until(() => wrong.length); return wrong"
    assert ask(chromium, page, absent) == [f"{page.parent.as_uri()}/none.js cannot be loaded"]


def test_one_that_was_ended_answers_no_more(chromium, page):
    script = "worker.postMessage({ add: 1 }); await until(() => heard.length);"
    script += "worker.terminate(); worker.postMessage({ add: 1 }); await new Promise((go) => setTimeout(go, 100));"
    assert ask(chromium, page, f"{script} return [heard.length, document.querySelectorAll('iframe').length]") == [1, 0]
