"""calm_ft: fine-tune Pocket TTS on your own recordings."""
