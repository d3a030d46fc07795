"""The watch: what the rules of alerts mean now, and telling the operator.

`evaluate` decides, and is pure; `watch` reads, writes down and notifies.
"""
