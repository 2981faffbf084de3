"""`aideon graph -f html`: one page for a browser, of a run or of a graph alone."""

from __future__ import annotations

import json
import re


def data(text):
    (found,) = re.findall(r'(?s)<script type="application/json" id="data">(.*?)</script>', text)
    return json.loads(found)


def test_a_run_becomes_a_page(aideon, folder):
    aideon("run", "two.py", "--task", "Heat.")
    done = aideon("graph", "--run", "last", "-o", "run.html")
    assert (done.code, done.out, done.err) == (0, "", "written to run.html\n")
    made = data((folder / "run.html").read_text(encoding="utf-8"))
    assert made["run"]["status"] == "completed"
    assert made["run"]["rehearsed"] is True
    assert [row[1] for row in made["calls"]] == ["facts", "text"]
    assert "facts" in made["views"][0]["svg"]


def test_a_page_begins_with_the_theme_that_was_asked_for(aideon):
    aideon("run", "one.py", "--task", "Heat.")
    text = aideon("graph", "--run", "last", "-f", "html", "--theme", "dark", "--depth", "0").out
    assert data(text)["theme"] == "dark"


def test_a_graph_alone_becomes_a_page(aideon):
    done = aideon("graph", "one.py", "-f", "html")
    assert data(done.out)["run"]["status"] is None
    assert done.out.startswith("<!doctype html>")
    assert done.out.endswith("</html>\n")


def test_a_page_is_of_one_run(aideon):
    aideon("run", "one.py", "--task", "Heat.")
    aideon("run", "one.py", "--task", "Heat.")
    first, second = (run["run_id"] for run in aideon("runs", "list", "--json").document)
    done = aideon("graph", "--run", first, "--run", second, "-f", "html")
    assert done.code == 2
    assert done.complaint == "-f html shows one run: give --run once, or choose another -f"
