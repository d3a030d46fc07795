"""A service without HTTP: database, recorder, build service and jobs, made from the settings."""
