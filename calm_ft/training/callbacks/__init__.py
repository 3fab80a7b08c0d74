"""Lightning callbacks of a run: one file for each thing that happens beside the training steps."""
