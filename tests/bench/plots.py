"""Draws the report of the bench: plots.py FOLDER reads FOLDER/report.json and writes FOLDER/*.svg.

cost.svg        CPU of Asterisk and bridge beyond Echo()
delay.svg       from the caller through the echoing AI and back, p50 and p99
uplink.svg      from the caller's packet to the AI, p50 and p99
turns.svg       turn start and barge-in stop, p99
spacing.svg     time between two packets, p99 and longest
drift-PATH.svg  delay over time in endless audio
freeze.svg      until every call is back after the AI stood still
"""

import json
import pathlib
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter

# Drawn again from the same figures, a picture has the same bytes.
plt.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3, "axes.axisbelow": True,
                     "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})

# In the order of the plots; colours that stay apart for the colour-blind.
PATHS = {
    "floor": ("Echo(), no AI", "#999999"),
    "a": ("AI()", "#d55e00"),
    "a0": ("AI(), playout target 0", "#e69f00"),
    "e": ("AudioSocket, Rust", "#0072b2"),
    "ct": ("AudioSocket, tuned Python", "#009e73"),
    "c": ("AudioSocket, Python", "#56b4e9"),
    "d": ("chan_websocket, Python", "#cc79a7"),
    "b": ("ARI, Python", "#6a51a3"),
}

folder = pathlib.Path(sys.argv[1])
report = json.loads((folder / "report.json").read_text())


def rows(path, calls):
    return [row for row in report["rows"] if (row["path"], row["calls"]) == (path, calls)]


def mean(path, calls, figure):
    """Of all runs; None when there was none, or nothing to be seen."""
    figures = [figure(row) for row in rows(path, calls)]
    return None if not figures or None in figures else sum(figures) / len(figures)


def spread(name, part):
    return lambda row: row[name][part]


def save(figure, name):
    figure.savefig(folder / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def bars(name, panels, unit, log=True, skip=()):
    """A panel for each figure: a group of bars for each number of calls, a bar for each path."""
    calls = sorted({row["calls"] for row in report["rows"]})
    paths = [path for path in PATHS if path not in skip and any(row["path"] == path for row in report["rows"])]
    seen = [mean(path, count, figure) for _, figure in panels for path in paths for count in calls]
    if not any(value is not None for value in seen):
        return
    figure, axes = plt.subplots(len(panels), 1, figsize=(8, 2.6 * len(panels) + 0.6), squeeze=False, layout="constrained")
    for axis, (title, of) in zip(axes[:, 0], panels):
        width = 0.86 / len(paths)
        for place, path in enumerate(paths):
            values = [(at, mean(path, count, of)) for at, count in enumerate(calls)]
            values = [(at + (place - (len(paths) - 1) / 2) * width, value) for at, value in values if value is not None]
            label, colour = PATHS[path]
            axis.bar([at for at, _ in values], [value for _, value in values], width * 0.92, label=label, color=colour)
            for at, value in values:
                axis.annotate(f"{value:.2g}" if value < 10 else f"{value:.0f}", (at, value), ha="center", va="bottom",
                              fontsize=6, xytext=(0, 1), textcoords="offset points")
        if log:
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.margins(y=0.12)
        axis.set_title(title, loc="left", fontsize=9)
        axis.set_ylabel(f"{unit} (log scale)" if log else unit)
        axis.set_xticks(range(len(calls)), [f"{count} call{'s' if count > 1 else ''}" for count in calls])
        axis.grid(axis="x", visible=False)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    save(figure, name)


def beyond_floor(row):
    floor = mean("floor", row["calls"], lambda floor: floor["asterisk_cpu"])
    return None if floor is None else row["asterisk_cpu"] + row["bridge_cpu"] - floor


def drift(run):
    figure, axes = plt.subplots(2, 1, figsize=(8, 5.6), sharex=True, layout="constrained")
    colours = ["#000000", "#0072b2", "#56b4e9", "#d55e00", "#e69f00"]
    for axis, side, title in zip(axes, ("agent", "caller"), ("AI to caller", "Caller to AI")):
        for group, colour in zip(run["groups"], colours):
            points = group[side]["points"]
            minutes = [point["minute"] for point in points]
            label = "all clocks right"
            if group["phone_ppm"] or group["ai_ppm"]:
                who, ppm = ("phone", group["phone_ppm"]) if group["phone_ppm"] else ("AI", group["ai_ppm"])
                label = f"{who}'s clock {ppm:+.0f} ppm"
            axis.plot(minutes, [point["p50"] for point in points], color=colour, linewidth=1.4, label=label)
            axis.plot(minutes, [point["max"] for point in points], color=colour, linewidth=0.6, linestyle=":")
        axis.set_title(f"{title}: delay (line: median, dots: longest)", loc="left", fontsize=9)
        axis.set_ylabel("ms")
        axis.set_ylim(bottom=0)
    axes[1].set_xlabel(f"minutes of endless audio, {run['calls']} calls, {PATHS[run['path']][0]}")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    save(figure, f"drift-{run['path']}")


def freeze(runs):
    never = 8000  # ms looked at
    labels = [f"{PATHS[run['path']][0]}, AI {run['doing']}" for run in runs]
    figure, axis = plt.subplots(figsize=(8, 0.55 * len(runs) + 1.2), layout="constrained")
    for side, shift, colour, name in (("agent", -0.2, "#d55e00", "what the caller hears"),
                                      ("caller", 0.2, "#0072b2", "what the AI hears")):
        values = [run[side]["back_ms"] for run in runs]
        places = [at + shift for at in range(len(runs))]
        axis.barh(places, [never if value is None else value for value in values], 0.36, color=colour, label=name)
        for place, value in zip(places, values):
            axis.annotate("not within 8 s" if value is None else f"{value:.0f} ms", (never if value is None else value, place),
                          va="center", fontsize=7, xytext=(3, 0), textcoords="offset points")
    axis.set_yticks(range(len(runs)), labels)
    axis.invert_yaxis()
    axis.set_xlim(0, never * 1.2)
    axis.set_xlabel("ms from the AI's return after 2 s until every call has its delay from before")
    axis.grid(axis="y", visible=False)
    figure.legend(loc="outside lower center", ncols=2)
    save(figure, "freeze")


for old in folder.glob("*.svg"):
    old.unlink()
if report["rows"]:
    bars("cost", [("CPU of Asterisk and bridge beyond Echo()", beyond_floor)], "CPU s for a call of 1 min", log=False, skip=("floor",))
    bars("delay", [(f"Caller to AI and back, {part}", spread("delay", part)) for part in ("p50", "p99")], "ms")
    bars("uplink", [(f"Caller to AI, {part}", spread("uplink", part)) for part in ("p50", "p99")], "ms", skip=("floor",))
    bars("turns", [("Turn start, p99", spread("turn_start", "p99")), ("Barge-in stop, p99", spread("barge_in_stop", "p99"))],
         "ms", skip=("floor",))
    bars("spacing", [("Between two packets, p99", spread("spacing", "p99")), ("Between two packets, longest", spread("spacing", "max"))],
         "ms")
for run in report["drift"]:
    drift(run)
if report["freeze"]:
    freeze(report["freeze"])
