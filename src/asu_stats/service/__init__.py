"""Creates the parts of a server from the settings: database, recorder, build service and jobs."""
