"""Speak a text: in a checkout the same as `python -m calm_ft.synthesize`."""

from calm_ft.errors import run_script
from calm_ft.synthesize import main

if __name__ == "__main__":
    run_script(main)
