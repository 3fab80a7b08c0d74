"""Evaluate runs and exports: in a checkout the same as `python -m calm_ft.evaluate`."""

from calm_ft.errors import run_script
from calm_ft.evaluate import main

if __name__ == "__main__":
    run_script(main)
