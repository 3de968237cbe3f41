"""Tables of test errors: of any runs (errors.py), as a paper prints them (published.py), and the lists of SNACS (snacs.py).

They import the cells, captions and published numbers of report/, config and errors; no torch. snip_report.py and the figures import them.
"""
