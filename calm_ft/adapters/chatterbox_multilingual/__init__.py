"""Chatterbox Multilingual: the English model's networks with text in 23 languages, each told by a tag before the text.

[fr]text ──> T3 (Llama), watched by an alignment analyzer ──> speech tokens ──> S3Gen ──> 24 kHz

What it shares with the English model is in the folder chatterbox.
"""
