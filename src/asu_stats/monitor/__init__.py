"""Monitoring: evaluates alert rules and notifies the operator.

`evaluate` decides and is pure; `watch` reads, stores and notifies.
"""
