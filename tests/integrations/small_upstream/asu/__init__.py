"""Stands for the package of the upstream server: the same modules, on the small server."""
