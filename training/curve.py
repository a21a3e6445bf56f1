"""The learning curve of a run, from its log.jsonl: training accuracy by task, and exact match on validation prompts."""

import argparse
import json
import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as pyplot  # noqa: E402

# Okabe and Ito's palette: tells apart for colour-blind readers.
COLOURS = ["#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7", "#999999", "#8C6D1F"]
MARKS = "osv^D<>PX"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path, help="a PNG or SVG file")
    arguments = parser.parse_args()
    entries = [json.loads(line) for line in arguments.log.read_text().splitlines()]
    train = [entry for entry in entries if "train" in entry]
    exact = [entry for entry in entries if "exact" in entry]
    tasks = [task for task in exact[-1]["exact"] if task != "text"]
    figure, panels = pyplot.subplots(2, 1, figsize=(8, 8), sharex=True, layout="constrained")
    for colour, mark, task in zip(COLOURS, MARKS, tasks, strict=False):
        known = [entry for entry in train if task in entry["train"]]
        panels[0].plot([e["tokens"] / 1e6 for e in known], [e["train"][task] for e in known], color=colour, label=task)
        xs, ys = [e["tokens"] / 1e6 for e in exact], [e["exact"][task] for e in exact]
        panels[1].plot(xs, ys, color=colour, marker=mark, markersize=5, label=task)
    panels[0].set_ylabel("answer tokens right, training")
    panels[1].set_ylabel("exact match, held-out prompts")
    previous = None
    for entry in exact:
        if entry["length"] != previous:
            panels[1].axvline(entry["tokens"] / 1e6, color="0.8", zorder=0)
            panels[1].text(entry["tokens"] / 1e6, 1.03, f" {entry['length']}", color="0.4", fontsize=9)
            previous = entry["length"]
    panels[1].set_xlabel("tokens read [millions]   (grey: prompt length of the validation, positions)")
    for panel in panels:
        panel.set_ylim(0, 1.1)
        panel.grid(alpha=0.3)
    panels[0].legend(ncols=4, loc="lower right")
    figure.savefig(arguments.out, dpi=110)


if __name__ == "__main__":
    main()
