"""What an evaluation says: its result, the table on the terminal, the page that compares runs."""
