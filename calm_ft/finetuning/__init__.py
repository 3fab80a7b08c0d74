"""What is trained (strategies) and its running average (ema)."""
