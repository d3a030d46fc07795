"""The build service: requests in, queue, workers, images out. It knows only the recorder."""
