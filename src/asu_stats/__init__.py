"""Build statistics for OpenWrt firmware-on-demand servers."""

from importlib.metadata import version

__version__ = version("asu-stats")
