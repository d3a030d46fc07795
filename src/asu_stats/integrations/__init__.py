"""Plug-ins that emit the events of other build servers."""
