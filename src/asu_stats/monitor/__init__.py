"""The watch: rules as data, what they mean, and telling the operator.

`evaluate` decides, and is pure; `watch` reads, writes down and notifies.
"""
