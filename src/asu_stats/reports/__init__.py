"""The questions: one module each, a function of (connection, window, filters) → a typed answer.

SQL reads rollups only and rounds nothing; averages, rates and percentiles are made in `figures`.
"""
