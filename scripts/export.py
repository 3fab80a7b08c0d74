"""Write, move or publish an export: in a checkout the same as `python -m calm_ft.export`."""

from calm_ft.errors import run_script
from calm_ft.export import main

if __name__ == "__main__":
    run_script(main)
