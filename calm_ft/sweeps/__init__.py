"""Sweeps: many runs by one command, in one process or in many.

A sweep has a folder of its own, `output_dir`, beside its jobs' folders `output_dir-0`, `-1`, ...:
    sweep.json       by which command it was last begun, by which process, and whether it was told to stop
    jobs/N.json      what became of job N; jobs/N.log is its output where it ran in another process
    study.db         Optuna's study, multirun.yaml Hydra's note, .submitit/ what SLURM's jobs wrote
Jobs are known by their settings, not by their number: so the same command begins, goes on, or has nothing left to do.
Nothing here knows Hydra, Lightning or a model.
"""
