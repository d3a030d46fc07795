"""Build statistics for OpenWrt firmware-on-demand servers."""
