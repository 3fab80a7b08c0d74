"""From a folder of recordings to batches of cached features; knows no model, no Lightning and no Hydra."""
