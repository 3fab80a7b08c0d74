"""Evaluating a finished run or an export: joins models, recordings and metrics, which know nothing of each other."""
