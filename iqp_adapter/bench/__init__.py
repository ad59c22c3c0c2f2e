"""Benchmarks: restorers, data sets and metric protocols in; tables, numbers with intervals and one page out."""
