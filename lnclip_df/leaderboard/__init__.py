"""Predictions of several runs, side by side: tables and plots."""

from lnclip_df.leaderboard.table import leaderboard

__all__ = ["leaderboard"]
