"""From untidy recordings to a dataset that trains well: split, condition, check, and show what was found."""
