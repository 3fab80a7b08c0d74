"""The commands: each parses, calls one function of calm_ft, and prints."""
