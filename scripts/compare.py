"""Compare runs in one page: in a checkout the same as `python -m calm_ft.compare`."""

from calm_ft.compare import main
from calm_ft.errors import run_script

if __name__ == "__main__":
    run_script(main)
