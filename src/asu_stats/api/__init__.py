"""HTTP: reports, ingest, health. Parses, asks, and puts answers into their clothes."""
