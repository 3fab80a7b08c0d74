"""What pyproject.toml cannot say: conf/ lies beside the package and is installed inside it, as calm_ft/conf."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["calm_ft*"]), "calm_ft.conf"], package_dir={"calm_ft.conf": "conf"})
