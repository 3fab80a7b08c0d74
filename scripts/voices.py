"""Keep voices by name: in a checkout the same as `python -m calm_ft.voices`."""

from calm_ft.errors import run_script
from calm_ft.voices import main

if __name__ == "__main__":
    run_script(main)
