"""What a photo's file holds: which picture of several, samples of any type as 8 bits, and what of it cannot be read, and why."""
