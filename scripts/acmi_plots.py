"""Figures of the hash estimator."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
Rows = Sequence[Mapping]


def accuracy_figure(rows: Rows, path: Path) -> None:
    """Draw estimate and truth over the samples, for few (left) and many (middle) dimensions of Z, and the root mean squared error (right)."""
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    for axis, condition in zip(axes, (1, 100), strict=False):
        for colour, correlation in zip(COLOURS, sorted({row["correlation"] for row in rows}), strict=False):
            chosen = [r for r in rows if (r["size_x_y"], r["size_z"], r["correlation"]) == (1, condition, correlation)]
            samples = [row["samples"] for row in chosen]
            means, spreads = ([row[key] for row in chosen] for key in ("estimate_mean", "estimate_std"))
            axis.errorbar(
                samples, means, spreads, color=colour, marker="o", ms=4, capsize=3, label=f"ρ = {correlation}"
            )
            axis.axhline(chosen[0]["true_bits"], color=colour, ls="--", lw=1)
        axis.set(
            xscale="log", xlabel="samples N", ylabel="I(X; Y | Z) in bits", title=f"X, Y: 1 dimension, Z: {condition}"
        )
    axes[0].plot([], [], color="#444444", ls="--", lw=1, label="closed form")
    axes[0].legend(frameon=False, loc="center right", bbox_to_anchor=(1, 0.62))
    for colour, (size, condition) in zip(COLOURS, sorted({(r["size_x_y"], r["size_z"]) for r in rows}), strict=False):
        chosen = [
            row for row in rows if (row["size_x_y"], row["size_z"]) == (size, condition) and row["correlation"] < 0.9
        ]
        samples = sorted({row["samples"] for row in chosen})
        errors = [mean([row["mse"] for row in chosen if row["samples"] == n]) ** 0.5 for n in samples]
        axes[2].plot(
            samples,
            errors,
            color=colour,
            marker="o",
            ms=4,
            ls="-" if size == 1 else ":",
            label=f"{size}, {size}, {condition}",
        )
    axes[2].set(
        xscale="log",
        yscale="log",
        xlabel="samples N",
        ylabel="root mean squared error in bits",
        title="ρ = 0, 0.3, 0.6, by dimensions",
    )
    axes[2].set_yticks(ticks := [0.02, 0.05, 0.1, 0.2, 0.5], [f"{tick:g}" for tick in ticks])
    axes[2].yaxis.set_minor_formatter("")
    axes[2].legend(frameon=False, title="X, Y, Z", fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, path)


def bandwidth_figure(rows: Rows, default: float, path: Path) -> None:
    """Draw the estimate over the width of a bucket: corrected, plug-in, and with the linear part left in."""
    panels = {
        "Chance subtracted (full) and not (dotted)": {"corrected": "-", "plug-in": ":"},
        "What Z explains linearly taken out (full) and not (dotted)": {"corrected": "-", "linear part left in": ":"},
    }
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained", sharey=True)
    for axis, (title, ways) in zip(axes, panels.items(), strict=True):
        for colour, correlation in zip(COLOURS, sorted({row["correlation"] for row in rows}), strict=False):
            for way, style in ways.items():
                chosen = [row for row in rows if (row["correlation"], row["way"]) == (correlation, way)]
                label = f"ρ = {correlation}" if style == "-" else None
                axis.plot(
                    [r["width"] for r in chosen], [r["estimate_mean"] for r in chosen], style, color=colour, label=label
                )
            axis.axhline(chosen[0]["true_bits"], color=colour, lw=6, alpha=0.18)
        axis.axvline(default, color="#444444", lw=1)
        axis.set(xscale="log", xlabel="width of a bucket, in standard deviations", title=title)
        axis.set_xticks(ticks := [0.25, 0.5, 0.9, 1.6, 3.0], [f"{tick:g}" for tick in ticks])
        axis.minorticks_off()
    axes[0].set_ylabel("I(X; Y | Z) in bits, N = 2,000, Z of 500 dimensions")
    axes[0].text(default * 1.03, 0.97, "default", color="#444444", transform=axes[0].get_xaxis_transform(), va="top")
    axes[1].plot([], [], color="#444444", lw=6, alpha=0.18, label="closed form")
    axes[1].legend(frameon=False)
    save(figure, path)


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean."""
    return sum(values) / len(values)


def save(figure: plt.Figure, path: Path) -> None:
    """Write the figure without upper and right spines."""
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.title.set_fontsize("medium")
    figure.savefig(path, dpi=130)
    plt.close(figure)
