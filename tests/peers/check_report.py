# SPDX-License-Identifier: Apache-2.0
"""Checks what runs have left in a folder: see report.sh. Ends with 1 where something is not as it should be."""

import json
import math
import struct
import sys
from html.parser import HTMLParser
from pathlib import Path

from huggingface_hub import ModelCard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

folder = Path(sys.argv[1])
failures = []


def check(holds, what):
    if not holds:
        failures.append(what)


def as_float32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def check_events(run):
    """TensorBoard has each number of metrics.jsonl once, also after a resume, under transformers' names."""
    (logs,) = (run / "runs").iterdir()
    check(len(list(logs.iterdir())) == 2, "a resumed run has two files of events")
    events = EventAccumulator(str(logs), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    expected = {}
    for line in map(json.loads, open(run / "metrics.jsonl")):
        for name, value in line.items():
            if name != "step" and isinstance(value, (int, float)):
                tag = "eval/" + name[5:] if name.startswith("eval_") else "train/" + name
                expected.setdefault(tag, []).append((line["step"], as_float32(value)))
    check(set(events.Tags()["scalars"]) == set(expected), f"tags: {sorted(events.Tags()['scalars'])} for {sorted(expected)}")
    for tag, points in expected.items():
        got = [(event.step, event.value) for event in events.Scalars(tag)] if tag in events.Tags()["scalars"] else []
        check(got == points, f"{tag}: {got} for {points}")
        check(all(event.wall_time > 1.6e9 for event in events.Scalars(tag)), f"{tag}: times")
    (args,) = events.Tensors("args/text_summary")
    settings = json.loads(args.tensor_proto.string_val[0])
    check(settings == json.load(open(run / "run.json"))["settings"], "the settings under Text")
    print(f"TensorBoard read {sum(map(len, expected.values()))} values of {len(expected)} tags")


def check_card(run, library, tags, license):
    card = ModelCard.load(run / "README.md")
    data = card.data.to_dict()
    check(data["library_name"] == library, f"library_name {data['library_name']}")
    check(data["license"] == license, f"license {data.get('license')}")
    check(set(tags) <= set(data["tags"]), f"tags {data['tags']}")
    check(card.data.eval_results is None or all(math.isfinite(r.metric_value) for r in card.data.eval_results), "results of the card")
    print(f"huggingface_hub read the card of {run.name}: {', '.join(data)}; {len(card.data.eval_results or [])} results")


class Page(HTMLParser):
    """Every tag is closed, nothing is loaded, and there is one script."""

    void = {"meta", "link", "img", "br", "hr", "input"}

    def __init__(self, text):
        super().__init__()
        self.open, self.scripts, self.charts = [], 0, 0
        self.feed(text)
        self.close()
        check(not self.open, f"open at the end: {self.open}")

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        check(not {"src", "href", "onclick", "onload", "onerror"} & set(attributes), f"{tag} {attributes}")
        self.scripts += tag == "script"
        if "data-values" in attributes:
            chart = json.loads(attributes["data-values"])
            check(all(math.isfinite(v) for line in chart["lines"] for point in line for v in point), "values of a chart")
            self.charts += 1
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        check(self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}")
        if self.open:
            self.open.pop()


def check_page(file, least):
    page = Page(file.read_text())
    check(page.scripts == 1, f"{file.name}: {page.scripts} scripts")
    check(page.charts >= least, f"{file.name}: {page.charts} charts")
    print(f"{file.name}: {page.charts} charts, {file.stat().st_size // 1024} KB")


check_events(folder / "apo")
check_card(folder / "apo", "transformers", ["generated_from_trainer", "dpo"], "apache-2.0")
check_card(folder / "lora", "peft", ["dpo", "lora"], "apache-2.0")
check(not (folder / "lora" / "runs").exists(), "--report_to none wrote events")
check_page(folder / "apo" / "report.html", 8)
check_page(folder / "compare.html", 6)
for failure in failures:
    print("WRONG:", failure)
sys.exit(bool(failures))
