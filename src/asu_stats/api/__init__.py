"""HTTP: reports, ingest, health. Parses requests, calls the reports, and formats responses."""
