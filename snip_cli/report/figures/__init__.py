"""Figures: each file reads cells and returns a `Drawing`, which drawing.py saves as a picture, as CSV and for TensorBoard.

They import the other files of report/, runfolder, config and errors; matplotlib, TensorBoard and torch only inside functions.
"""
