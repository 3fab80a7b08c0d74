"""The commands of calm_ft as files of a checkout."""
