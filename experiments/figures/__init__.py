"""From many runs to tables and plots: read averages, then published, tables, drawing, plots."""
