"""What recording and asking cost, side by side with others, in one run: `make bench`."""
