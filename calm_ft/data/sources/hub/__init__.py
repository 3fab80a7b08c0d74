"""Data sets of the Hugging Face hub: their names and files, and how their tables are streamed."""
