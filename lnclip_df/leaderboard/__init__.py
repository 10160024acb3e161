"""Predictions of several runs, side by side: tables, plots, a page, and what made each figure."""

from lnclip_df.leaderboard.record import compare
from lnclip_df.leaderboard.table import leaderboard, make_board, write_board

__all__ = ["compare", "leaderboard", "make_board", "write_board"]
