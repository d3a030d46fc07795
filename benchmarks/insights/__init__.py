"""What insights find in generated histories with known incidents, and how they do beside rivals."""
