"""What is said in recordings: texts as they are spoken, recognisers with word times, texts aligned with their sound."""
