"""Evaluates methods: accuracy, retrieval, calibration, and predictions as tables."""
