"""Make a dataset of recordings: in a checkout the same as `python -m calm_ft.prepare`."""

from calm_ft.errors import run_script
from calm_ft.prepare import main

if __name__ == "__main__":
    run_script(main)
