"""Held-out loss against seconds of training, one line a contestant."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def can_plot() -> bool:
    return find_spec("matplotlib") is not None


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Writes a PNG of what `compete` returned. Needs matplotlib (see `can_plot`)."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for entry in result["contestants"]:
        points = entry["heldout"]
        axes.plot([p["seconds"] for p in points], [p["loss"] for p in points], marker="o", ms=4, label=entry["name"])
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter("")
    axes.set_xlabel("seconds of training")
    axes.set_ylabel("held-out masked-LM loss (nats)")
    axes.grid(alpha=0.3)
    axes.legend()
    work, machine = result["workload"], result["machine"]
    axes.set_title(
        f"{work['arch']} {work['size']}, sequences of {work['length']}, vocabulary {result['text']['vocabulary']:,}\n"
        f"{machine['processor']}, threads: {machine['threads']}, {result['date']}",
        fontsize=10,
    )
    figure.savefig(path, dpi=150)
