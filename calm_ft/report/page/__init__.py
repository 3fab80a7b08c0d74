"""Runs side by side in one HTML file: a sentence a run, drawings, tables, players and pictures.

`runs.read_runs` reads the folders; `verdict`, `tables`, `across_runs`, `settings`, `charts` and `sentences` make of
them what a page shows, and `compare` renders it. Nothing here knows a model.
"""
