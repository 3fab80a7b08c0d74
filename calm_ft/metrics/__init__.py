"""Metrics of one clip: audio, text and reference in, numbers out; each with the field's library under it."""
