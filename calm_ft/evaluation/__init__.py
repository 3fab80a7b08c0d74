"""(audio, text) in, metrics and pictures out; knows no model."""
