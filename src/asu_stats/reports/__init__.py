"""Reports: one module per endpoint of the statistics API: query, response type and example.

SQL only adds up. Averages, rates and rounding are in `figures`.
"""
