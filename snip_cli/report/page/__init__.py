"""The report as one HTML file: sections.py, groups.py and runs.py say what is on it, charts.py computes its pictures, document.py writes it.

The templates and the style sheet lie beside them. They import the other files of report/, runfolder, config and errors; torch only for masks.
"""
