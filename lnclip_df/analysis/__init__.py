"""Questions about one run: calibration, coverage, subgroups, aggregation, robustness."""
