r"""Tables for papers: a LaTeX `table` with its caption, the rules of booktabs, and its notes inside, by threeparttable.

`\usepackage{booktabs,threeparttable}` is all that a document needs.
"""

from collections.abc import Collection, Mapping, Sequence

from tabulate import LATEX_ESCAPE_RULES, tabulate

ESCAPES: dict[str, str | int | None] = {**LATEX_ESCAPE_RULES, "±": r"$\pm$", "†": r"$\dagger$", "‡": r"$\ddagger$"}
MARKS = ("*", "†", "‡")
NEEDS = r"% \usepackage{booktabs,threeparttable}"


def escaped(text: str) -> str:
    """Return a text as LaTeX prints it."""
    return text.translate(str.maketrans(ESCAPES))


def without_constants(rows: Sequence[Mapping[str, str]], kept: Collection[str]) -> tuple[list[dict[str, str]], str]:
    """Return rows without the columns that are the same in all of them, and in words what these columns said.

    One row alone keeps its columns, as do the columns in `kept`. An empty column is left out without a word.
    """
    constant = {name: rows[0][name] for name in rows[0] if len({row[name] for row in rows}) == 1 and name not in kept}
    if len(rows) == 1:
        constant = {name: text for name, text in constant.items() if not text}
    left = [{name: text for name, text in row.items() if name not in constant} for row in rows]
    return left, ", ".join(f"{name} {text}" for name, text in constant.items() if text)


def as_latex(
    rows: Sequence[Mapping[str, str]],
    caption: str,
    notes: Sequence[str],
    *,
    bold: Collection[tuple[int, str]] = (),
    over: tuple[str, int] | None = None,
) -> str:
    """Return rows as a LaTeX table.

    Args:
        rows: texts by column; the columns are those of the first row.
        caption: stands above the table.
        notes: lines, of which some begin with the mark that they explain.
        bold: (row, column) of texts that are printed bold.
        over: a heading above all columns but the first ones, and how many these are.
    """
    names = list(rows[0])
    head = [" & ".join(map(escaped, names)) + r" \\"]
    if over:
        label, first = over
        spanned = rf"\multicolumn{{{len(names) - first}}}{{c}}{{{escaped(label)}}}"
        head = [f"{'& ' * first}{spanned} \\\\", rf"\cmidrule(l){{{first + 1}-{len(names)}}}", *head]
    body = []
    for place, row in enumerate(rows):
        texts = {name: escaped(row[name]) for name in names}
        cells = [rf"\textbf{{{text}}}" if (place, name) in bold else text for name, text in texts.items()]
        body.append(" & ".join(cells) + r" \\")
    items = [_item(note) for note in notes]
    below = [r"\begin{tablenotes}", r"\footnotesize", *items, r"\end{tablenotes}"] if items else []
    return "\n".join(
        [
            NEEDS,
            r"\begin{table}",
            r"\centering",
            r"\begin{threeparttable}",
            rf"\caption{{{escaped(caption)}}}",
            rf"\begin{{tabular}}{{{'l' * len(names)}}}",
            *(r"\toprule", *head, r"\midrule", *body, r"\bottomrule"),
            r"\end{tabular}",
            *below,
            r"\end{threeparttable}",
            r"\end{table}",
        ]
    )


def in_style(rows: Sequence[Mapping[str, object]], style: str, caption: str) -> str:
    """Return rows of texts and numbers in a format of tabulate, whose LaTeX is that of `as_latex`; no other format has the caption."""
    if not style.startswith("latex"):
        return tabulate(rows, headers="keys", tablefmt=style)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return as_latex([{name: _text(row.get(name)) for name in names} for row in rows], caption, [])


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _item(note: str) -> str:
    mark, _, text = note.partition(" ")
    return rf"\item[{escaped(mark)}] {escaped(text)}" if mark.startswith(MARKS) else rf"\item {escaped(note)}"
