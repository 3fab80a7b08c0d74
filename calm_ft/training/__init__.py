"""Lightning's room: module, data module, callbacks, loggers and the run that joins them. No mathematics."""
