"""Metrics for Prometheus: what they are called is in conventions §6, what they mean in docs.

`domain` reads figures of the domain from the database when it is asked, `process` counts what
happens in this process, `exposition` puts both into the text that is scraped.
"""
