"""A service without HTTP: database, recorder, build service and jobs, from the settings."""
