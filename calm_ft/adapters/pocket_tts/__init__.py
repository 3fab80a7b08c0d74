"""Kyutai's Pocket TTS: a causal transformer with a flow head over continuous Mimi latents."""
