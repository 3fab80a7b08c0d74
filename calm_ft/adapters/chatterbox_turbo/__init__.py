"""Chatterbox Turbo: GPT-2 writes speech tokens from text, a mean-flow S3Gen makes sound of them in two steps.

text ──> T3 (GPT-2) ──> speech tokens, 25 a second ──> S3Gen flow (distilled, frozen) ──> mel ──> vocoder ──> 24 kHz
         ^ speaker embedding, prompt tokens (15 s)      ^ prompt tokens and mel, x-vector (CAMPPlus)

What it shares with the English model is in the folder chatterbox.
"""
