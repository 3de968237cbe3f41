"""LaTeX tables: escaped, with the notes inside, and constant columns in the caption."""

import re

from snip_cli.report.cells import cells
from snip_cli.report.records import read_tree
from snip_cli.report.tables.errors import as_text
from snip_cli.report.tables.latex import as_latex, without_constants
from tests.report.runs import record

ROWS = [
    {"method": "a_b", "n": "3", "error": "1 ± 2 †", "paper": ""},
    {"method": "c&d", "n": "3", "error": "5", "paper": ""},
]


def test_a_constant_column_goes_into_words_and_an_empty_one_goes():
    assert without_constants(ROWS, kept=()) == ([{"method": r["method"], "error": r["error"]} for r in ROWS], "n 3")
    assert without_constants(ROWS, kept=("n",))[1] == ""


def test_a_single_row_keeps_its_columns():
    assert without_constants(ROWS[:1], kept=()) == ([{"method": "a_b", "n": "3", "error": "1 ± 2 †"}], "")


def test_all_text_is_escaped_and_the_notes_are_inside_the_table():
    text = as_latex(ROWS, "50 % of a_b", ["† in 50 % of the seeds", "*1 n=3 of 20", "a line without a mark"])
    assert r"a\_b & 3 & 1 $\pm$ 2 $\dagger$ &  \\" in text and r"c\&d" in text
    assert r"\caption{50 \% of a\_b}" in text
    inside = text[text.index(r"\begin{threeparttable}") : text.index(r"\end{threeparttable}")]
    assert r"\item[$\dagger$] in 50 \% of the seeds" in inside
    assert r"\item[*1] n=3 of 20" in inside and r"\item a line without a mark" in inside


def test_what_is_opened_is_closed_in_order():
    text = as_latex(ROWS, "c", ["† x"], bold={(0, "error")}, over=("sparsity", 1))
    opened = []
    for word, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if word == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened and text.count("{") == text.count("}")
    assert r"\textbf{1 $\pm$ 2 $\dagger$}" in text


def test_without_notes_there_is_no_list_of_notes():
    assert "tablenotes" not in as_latex(ROWS, "c", [])


def test_the_table_of_errors_says_in_its_caption_what_all_rows_have_in_common(tmp_path):
    record(tmp_path, "a", [2.0], dataset="digits")
    record(tmp_path, "b", [3.0], dataset="digits", sparsity=0.5)
    text = as_text(cells(read_tree(tmp_path)), "latex_booktabs")
    [caption] = re.findall(r"\\caption\{(.*)\}\n", text)
    assert "model lenet\\_300\\_100, dataset digits" in caption
    assert "sparsity & error (\\%) & best of last 5" in text
