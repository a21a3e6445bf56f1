#!/usr/bin/env python3
"""Makes models/default_calibration.json, which foretells KL on models that no validation was run on.

    scripts/default_calibration.py FOLDER FOLDER ... > models/default_calibration.json

Each folder is one model's, left by `evictlab validate`. The map (results/kl_map.hpp) is of the tail loss, which means the same on
every model, and is fitted to all models' runs of methods and controls, every model and every prompt of a model of the same
weight. Every model is then foretold by the others: `other_model_factor` is the largest, over the models, of the factors by
which nine of ten means over prompts miss. What that was is printed on stderr.
"""

import collections
import csv
import json
import math
import pathlib
import statistics
import sys

MEASURE = "tail_loss"
SATURATIONS = (0.1, 0.3, 1.0, 3.0, 10.0, None)  # times the median loss; and the power law
STEEPEST = 4.0
FLOOR = 1e-4  # nats that count as none
RUN = ("prompt", "policy", "parameters", "budget_requested")


def runs_of(folder):
    with open(folder / "replay.csv", newline="") as file:
        lost = {tuple(row[name] for name in RUN): row[MEASURE] for row in csv.DictReader(file) if row["layer"] == "all"}
    with open(folder / "validate.csv", newline="") as file:
        for row in csv.DictReader(file):
            key = tuple(row[name] for name in RUN)
            taught = row["turn"] == "1" and row["status"] == "ok" and row["role"] != "ceiling" and "decode=yes" not in row["parameters"]
            if taught and lost.get(key) and float(lost[key]) > 0:
                yield {"run": key, "kl": float(row["kl"]), "lost": float(lost[key])}


def weighted(models):
    """Runs of all models, with weights that sum to 1 in each."""
    for runs in models:
        prompts = collections.Counter(run["run"][0] for run in runs)
        for run in runs:
            yield run["lost"], run["kl"], 1.0 / prompts[run["run"][0]] / len(prompts) / len(models)


def log_share(lost, saturation):
    return math.log(lost) if saturation is None else math.log(lost / (lost + saturation))


def log_linear(rows, saturation):
    """exp(a + b x) by Fisher scoring of the Poisson likelihood: likelihood, a, b."""
    x = [log_share(lost, saturation) for lost, _, _ in rows]
    centre = sum(w * one for one, (_, _, w) in zip(x, rows))
    a, b = math.log(sum(w * kl for _, kl, w in rows)), 0.0

    def scoring(a, b):
        sums = [0.0] * 6
        for one, (_, kl, w) in zip(x, rows):
            eta = min(40.0, max(-40.0, a + b * (one - centre)))
            mean = w * math.exp(eta)
            for i, term in enumerate((w * kl * eta - mean, w * kl - mean, (w * kl - mean) * (one - centre), mean, mean * (one - centre),
                                      mean * (one - centre) ** 2)):
                sums[i] += term
        return sums

    at = scoring(a, b)
    for _ in range(60):
        determinant = at[3] * at[5] - at[4] ** 2
        step_a, step_b = (at[5] * at[1] - at[4] * at[2]) / determinant, (at[3] * at[2] - at[4] * at[1]) / determinant
        share = 1.0
        while share > 1e-6 and not scoring(a + share * step_a, b + share * step_b)[0] >= at[0]:
            share *= 0.5
        a, b = a + share * step_a, b + share * step_b
        at = scoring(a, b)
        if share * (abs(step_a) + abs(step_b)) < 1e-9:
            break
    return at[0], a - b * centre, b


def fitted(models):
    rows = list(weighted(models))
    median = sorted(lost for lost, _, _ in rows)[len(rows) // 2]
    found = []
    for times in SATURATIONS:
        saturation = None if times is None else times * median
        likelihood, a, b = log_linear(rows, saturation)
        if 0.0 < b <= STEEPEST:
            found.append((likelihood, a, b, saturation))
    _, a, b, saturation = max(found, key=lambda one: one[0])
    return {"log_scale": a, "saturation": saturation, "exponent": b}


def foretold(kl_map, lost):
    return math.exp(kl_map["log_scale"] + kl_map["exponent"] * log_share(lost, kl_map["saturation"]))


def misses(kl_map, runs):
    """|log(live / foretold)| of means over prompts."""
    means = collections.defaultdict(list)
    for run in runs:
        means[run["run"][1:]].append((run["kl"], foretold(kl_map, run["lost"])))
    pairs = [[max(FLOOR, statistics.fmean(side)) for side in zip(*own)] for own in means.values()]
    return sorted(abs(math.log(live / predicted)) for live, predicted in pairs)


def quantile(ordered, level):
    place = level * (len(ordered) - 1)
    low = int(place)
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


def main():
    folders = [pathlib.Path(name) for name in sys.argv[1:]]
    if len(folders) < 2:
        sys.exit(__doc__)
    models = [list(runs_of(folder)) for folder in folders]
    names = [json.loads((folder / "validate.manifest.json").read_text())["model"] for folder in folders]
    factors = []
    for i, own in enumerate(models):
        ordered = misses(fitted(models[:i] + models[i + 1 :]), own)
        factors.append(math.exp(quantile(ordered, 0.9)))
        print(f"{names[i]}: foretold by the others within {math.exp(quantile(ordered, 0.5)):.2f} (median), {factors[-1]:.2f} (nine of ten)", file=sys.stderr)
    every = [run for runs in models for run in runs]
    prompts = sum(len({run["run"][0] for run in runs}) for runs in models)
    kl_map = fitted(models)
    print(f"all: within {math.exp(quantile(misses(kl_map, every), 0.9)):.2f} (nine of ten)", file=sys.stderr)
    calibration = {
        "format": "evictlab-calibration",
        "format_version": 1,
        "model": " and ".join(names),
        "model_fingerprint": "none",
        "window": 64,
        "other_model_factor": max(factors),
        "measure": MEASURE,
        "map": kl_map,
        "confidence": 0.9,
        "prompt_factor": None,
        "mean_factors": [],
        "covers": {
            "prompts": prompts,
            "documents": prompts,
            "prompt_length": [0, 1e30],
            "slots": [0, 1e30],
            "share": [0, 1],
            "tasks": [],
            "policies": sorted({run["run"][1] for run in every}),
            "budgets": sorted({run["run"][3] for run in every}, key=float),
        },
        "held_out": {"median_factor": None, "nine_of_ten_factor": None, "coverage": None},
    }
    print(json.dumps(calibration, indent=1))


if __name__ == "__main__":
    main()
