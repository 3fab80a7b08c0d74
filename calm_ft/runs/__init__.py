"""What can be done with a finished run or an export: load, speak, evaluate, export, move, publish."""

from calm_ft.runs.exports import (
    adapter_for,
    export_dir,
    export_run,
    own_voice,
    push_export,
    relocate_export,
    run_config,
    synthesize_to_file,
    written_line,
)

__all__ = [
    "adapter_for",
    "export_dir",
    "export_run",
    "own_voice",
    "push_export",
    "relocate_export",
    "run_config",
    "synthesize_to_file",
    "written_line",
]
