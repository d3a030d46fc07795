"""What the system does by itself: jobs as data, one runner, one scheduler."""
