"""The dashboard. Its pages compute no figures: like the API, they use the reports."""
