"""A record as one HTML page that needs nothing else: no script, no network, plots as SVG."""

from vecserve_bench.report.page import report

__all__ = ["report"]
