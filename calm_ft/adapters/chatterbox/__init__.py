"""Chatterbox (English): T3 writes speech tokens from text, S3Gen sound from these. Only this folder imports upstream.

text ──> T3 (Llama) ──> speech tokens, 25 a second ──> S3Gen flow (CFM) ──> mel ──> vocoder ──> 24 kHz
         ^ speaker embedding (voice encoder), prompt tokens      ^ prompt tokens and mel, x-vector (CAMPPlus)
"""
