"""Runs side by side in one HTML file: tables, curves, players and pictures.

The folders of runs are read into plain data classes (`figures`, `read_*`, `unevaluated`), these become what a page
shows (`metric_table`, `charts`, `sentences`, `facts`), and `compare` renders that. Nothing here knows a model.
"""
