"""The page: one file without references, with the numbers of metrics.jsonl, whatever names and damage there are."""

import json
import math
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from tests.report.made import metrics, write_config, write_lines, write_picture, write_run
from uit_jax import report
from uit_jax.errors import UserError
from uit_jax.report import looking, page, pictures

pytest.importorskip("bokeh")
pytest.importorskip("jinja2")

HOSTILE = """a"b'<img src=x onerror=alert(1)>&amp;"""


class Parsed(HTMLParser):
    """What a browser would find in a page: references, JSON by id, text of what is shown."""

    def __init__(self, path):
        super().__init__()
        self.references, self.items, self.text, self.tags, self._inside = [], {}, "", [], ""
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        self._inside = attrs.get("id", tag) if tag == "script" else tag
        self.references += [value for name, value in attrs.items() if name in ("src", "href", "action", "srcset")]

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside not in ("script", "style"):
            if any(tag == "script" and attrs.get("id") == self._inside for tag, attrs in self.tags):
                self.items[self._inside] = json.loads(data, parse_constant=pytest.fail)
            else:
                self.text += f" {data} "

    def curves(self):
        """Return the points of every plotted line: title -> {run: (steps, values)}."""
        found = {}
        for name, item in self.items.items():
            if name.startswith(("curve-", "speed-")):
                nodes = list(walk(item))
                title = next(node["attributes"]["text"] for node in nodes if node.get("name") == "Title")
                for node in nodes:
                    if node.get("name") == "GlyphRenderer" and "smooth" in node["attributes"].get("tags", ()):
                        run = node["attributes"]["name"]
                        source = resolved(nodes, node["attributes"]["data_source"])
                        columns = dict(source["attributes"]["data"]["entries"])
                        found.setdefault(title, {})[run] = columns["step"], columns["value"]
        return found


def walk(value):
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(inner)


def resolved(nodes, reference):
    return next(node for node in nodes if node.get("id") == reference["id"] and "attributes" in node)


def seen(count=12, names=None, classes=("cat", "dog")):
    rng = np.random.default_rng(0)
    assigned = np.arange(count) % 3
    domains, empty = looking.domains(np.eye(4)[assigned])
    images = rng.integers(0, 255, (count, 8, 8, 3), np.uint8)
    return looking.Seen(
        "told", names or [f"{i}.png" for i in range(count)], pictures.sheet(images), rng.normal(size=(count, 2)),
        np.arange(count) % 2, classes, assigned, domains, empty, [looking.Strip(pictures.strip(images[:3]), "a to b")],
    )


def test_a_page_refers_to_nothing_and_has_the_numbers_that_were_recorded(tiny, tmp_path):
    write_run(tmp_path / "run")
    path = report.write(tmp_path / "run", images=0)
    found = Parsed(path)
    assert path == tmp_path / "run" / "report.html" and path.stat().st_size < 3e6
    assert all(each.startswith(("#", "data:")) for each in found.references)
    assert [attrs["href"] for tag, attrs in found.tags if tag == "link"] == ["data:,"]
    expected = {}
    for record in metrics():
        for name in record.keys() - {"step", "phase"}:
            steps, values = expected.setdefault(name, ([], []))
            steps.append(record["step"])
            values.append(record[name])
    curves = found.curves()
    assert {name: curves[name]["run"] for name in expected} == expected
    assert curves["images per second"]["run"] == ([2], [31.5])
    assert found.items["frames-0"]["steps"] == [4, 8, 12]
    shown = " ".join(found.text.split())
    assert "tiny: step 12 of 12" in shown and "the defaults of tiny" in shown and "0.75" in shown
    assert "left out" not in shown and "Styles and pseudo domains" not in shown


def test_a_phase_is_marked_where_it_begins(tiny, tmp_path):
    write_run(tmp_path)
    nodes = list(walk(Parsed(report.write(tmp_path, images=0)).items["curve-1-0"]))
    assert [node["attributes"]["location"] for node in nodes if node.get("name") == "Span"] == [4]
    assert [node["attributes"]["text"] for node in nodes if node.get("name") == "Label"] == ["second"]


def test_names_are_shown_and_never_run(tiny, tmp_path):
    run = tmp_path / HOSTILE.replace("/", "") / "run"
    write_run(run, **{"data.source": HOSTILE})
    other = tmp_path / "other" / "run"
    shutil.copytree(run, other)
    write_picture(run / "images" / f"{HOSTILE.replace('/', '')}_00000002.png")
    write_lines(run / "metrics.jsonl", [{"step": 2, "phase": "</script><b>", "</script><i>x": 1.5}])
    evaluation = {"scores": {"<u>": 0.5}, "protocol": {"<s>": "</pre><script>"}}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    made = [seen(names=[f"{HOSTILE}{i}" for i in range(12)], classes=("</script><em>", HOSTILE)), None]
    found = [page.records.read(*each) for each in ((run, HOSTILE), (other, "other"))]
    path = tmp_path / "page.html"
    path.write_text(page.rendered(found, made))
    parsed = Parsed(path)
    assert not {"b", "i", "u", "s", "em"} & {tag for tag, _ in parsed.tags} and HOSTILE in parsed.text
    assert not [attrs for _, attrs in parsed.tags if any(name.startswith("on") for name in attrs)]
    assert all(attrs.get("src", "data:").startswith("data:") for tag, attrs in parsed.tags if tag == "img")
    assert parsed.curves()["</script><i>x"] == {HOSTILE: ([2], [1.5])}
    assert json.dumps(f"{HOSTILE}0") in json.dumps(parsed.items["space-0"])


def test_what_a_model_makes_of_images_is_shown_with_what_there_is(tiny, tmp_path):
    write_run(tmp_path)
    record = page.records.read(tmp_path, "run")
    path = tmp_path / "page.html"
    path.write_text(page.rendered([record], [seen()]))
    found = Parsed(path)
    assert {"space-0", "sizes-0", "confusion-0"} <= found.items.keys() and "1 pseudo domain without" in found.text
    thumbs = [attrs for _, attrs in found.tags if attrs.get("class") == "thumb"]
    assert len(thumbs) == 12 and thumbs[0]["style"] == "background:var(--sheet-0) -0px -0px"
    assert {attrs["aria-label"] for attrs in thumbs} == {f"{i}.png" for i in range(12)}
    bare = seen()
    bare.labels[:], bare.assigned, bare.pseudo_domains, bare.points, bare.classes = -1, None, [], None, ()
    path.write_text(page.rendered([record], [bare]))
    found = Parsed(path)
    assert not {"space-0", "sizes-0", "confusion-0"} & found.items.keys() and "From one style to another" in found.text


def test_runs_stand_side_by_side(tiny, tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", seed=3)
    write_lines(tmp_path / "b" / "metrics.jsonl", metrics(steps=(2, 4, 6), scale=2.0))
    found = Parsed(report.write(tmp_path / "a", tmp_path / "both.html", compare=[tmp_path / "b", tmp_path / "a"]))
    assert found.curves()["model/fit"].keys() == {"a", "b"}
    assert [run["run"] for run in found.items["frames-0"]["runs"]] == ["a", "b"]
    text = " ".join(found.text.split())
    assert "or between the runs (bold)" in text and re.search(r"seed 0 3 0", text)
    assert text.count("the run has saved no checkpoint yet") == 2


def test_a_training_under_way_and_what_is_broken_in_it(tiny, tmp_path):
    write_config(tmp_path)
    text = "".join(json.dumps(record) + "\n" for record in metrics()[:3])
    (tmp_path / "metrics.jsonl").write_text(text.replace(str(1.1 / 4), "NaN") + '{"step": 8, "model/f')
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "translations_00000004.png").write_bytes(b"broken")
    found = Parsed(report.write(tmp_path))
    steps, values = found.curves()["model/fit"][tmp_path.name]
    assert steps == [2, 4, 6] and values[1] == {"type": "number", "value": "nan"} and math.isclose(values[2], 1.1 / 6)
    text = " ".join(found.text.split())
    for told in ("(not at its end)", "not finite at 1 of 3", "_00000004.png cannot be shown", "no checkpoint yet"):
        assert told in text
    assert "frames-0" not in found.items


def test_a_page_stays_small(tiny, tmp_path, monkeypatch):
    write_run(tmp_path)
    path = report.write(tmp_path, images=0)
    whole = path.stat().st_size
    frames = Parsed(path).items["frames-0"]["runs"][0]["frames"]
    assert [frame["step"] for frame in frames] == [4, 8, 12] and whole < page.LARGEST
    # No room for all of them; then, beside the rest of the page, for none.
    monkeypatch.setattr(page, "PICTURES", int(2.5 * len(frames[0]["data"])))
    (run,) = Parsed(report.write(tmp_path, images=0)).items["frames-0"]["runs"]
    assert [frame["step"] for frame in run["frames"]] == [4, 12]
    monkeypatch.setattr(page, "LARGEST", 1_000_000)
    assert "frames-0" not in Parsed(report.write(tmp_path, images=0)).items


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "LIBRARIES", {"bokeh": "bokeh", "no_such_module": "no-such-package"})
    with pytest.raises(UserError, match=r"needs no-such-package: pip install 'uit-jax\[report\]'"):
        report.write(tmp_path)
