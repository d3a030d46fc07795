"""Pages for people. They compute no figures: like the API, they use the reports."""
