"""Predictions of frames, and what is computed from them: metrics, intervals, calibration."""
