"""The demo: a simulated history, and visitors that continue it."""
