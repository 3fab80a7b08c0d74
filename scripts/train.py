"""Fine-tune a voice: in a checkout the same as `python -m calm_ft.train`."""

from calm_ft.errors import run_script
from calm_ft.train import main

if __name__ == "__main__":
    run_script(main)
