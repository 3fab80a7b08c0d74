"""How a model is judged: one protocol, one way to speak, one result.

A step in training, the end of a run, `scripts/evaluate.py` and base voices all come here (`evaluator.Evaluator`).
"""
