"""Pages for people. A page computes no figure: it asks the reports, as the API does."""
