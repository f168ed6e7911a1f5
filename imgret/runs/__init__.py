"""What running a step takes: its output, parts in work, worker processes, signals, what is told to a person."""
